"""The modules that a web process imports, and the names that a worker finds without importing."""

import subprocess
import sys
from pathlib import Path

from celery.utils.imports import symbol_by_name

from async_reply.tasks import OperationTask
from async_reply.worker.requests import OperationRequest

ROOT = Path(__file__).parents[2]

WEB_PROCESS = """
import builtins, os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "demo_project.settings"

# Celery's own support for Django imports some modules of celery.worker, since version 5.6.
import celery.fixups.django
by_celery = set(sys.modules)

importers = []
import_module = builtins.__import__

def noting_import(name, globals=None, *args, **kwargs):
    importer = (globals or {}).get("__name__", "")
    if importer.startswith("async_reply") and name.startswith("celery.worker"):
        importers.append(f"{importer} imports {name}")
    return import_module(name, globals, *args, **kwargs)

builtins.__import__ = noting_import
import django
django.setup()
from importlib import import_module as import_by_path
from django.conf import settings
import_by_path(settings.ROOT_URLCONF)
print(*importers, *(name for name in sys.modules if name.startswith("celery.worker")
                    and name not in by_celery), sep="\\n", end="")
"""

WORKER = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "demo_project.settings"
import django
django.setup()
from celery import current_app
current_app.loader.import_default_modules()
print("async_reply.submit" in current_app.tasks)
"""


def printed_by(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.check_output(command, cwd=ROOT, text=True, timeout=60)


def test_web_process__imports_no_module_of_celery_worker() -> None:
    assert printed_by(WEB_PROCESS) == ""


def test_worker__knows_the_task_that_schedules_name() -> None:
    assert printed_by(WORKER) == "True\n"


def test_request__is_found_by_its_path() -> None:
    assert symbol_by_name(OperationTask.Request) is OperationRequest
