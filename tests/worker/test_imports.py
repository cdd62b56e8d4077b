"""The modules that a web process imports, and the names that a worker finds without importing."""

import subprocess
import sys
from pathlib import Path

import pytest
from celery import signals
from celery.utils.imports import symbol_by_name

from async_reply.apps import CELERY_RECEIVERS
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

#: A project without the admin, whose modules Django's own admin imports.
SETUP = """
import sys
from django.conf import settings
settings.configure(
    INSTALLED_APPS=[
        "django.contrib.contenttypes", "django.contrib.auth", "rest_framework", "async_reply"
    ],
    SECRET_KEY="x" * 50,
)
import django
django.setup()
"""
PRINT_MODULES = """
print(*sorted(name for name in sys.modules if name.startswith("async_reply.")))
"""
IMPORT_URLS = """
import async_reply.urls, async_reply.views
"""
#: The modules of the package that `django.setup()` needs: tables, and what registers all others.
SETUP_MODULES = {
    *("apps", "checks", "checks.registry", "conf", "database", "database.clock"),
    *("database.fields", "database.identifiers", "logs", "models", "monitoring", "querysets"),
    *("services", "services.users", "setting_values", "status", "storage", "stored_events"),
    *("stored_steps",),
    *("worker", "worker.beat", "worker.tracebacks"),
}
#: The modules of `worker` that a web process imports, by `django.setup()`.
WORKER_MODULES_OF_WEB = {"worker", "worker.beat", "worker.tracebacks"}
#: Modules that only a worker needs, maintenance, or `manage.py check`.
NOT_FOR_WEB = {"attempts.rescue", "files.orphans", "services.retention", "statistics.rollup"}


def printed_by(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.check_output(command, cwd=ROOT, text=True, timeout=60)


def test_web_process__imports_no_module_of_celery_worker() -> None:
    assert printed_by(WEB_PROCESS) == ""


def test_setup__imports_few_modules() -> None:
    imported = printed_by(SETUP + PRINT_MODULES).replace("async_reply.", "").split()
    assert set(imported) == SETUP_MODULES


def test_web_process__imports_no_module_of_the_worker() -> None:
    printed = printed_by(SETUP + IMPORT_URLS + PRINT_MODULES).replace("async_reply.", "").split()
    assert "views.submit" in printed
    of_worker = {name for name in printed if name.partition(".")[0] == "worker"}
    of_checks = {name for name in printed if name.partition(".")[0] == "checks"}
    assert of_worker == WORKER_MODULES_OF_WEB
    assert of_checks == {"checks", "checks.registry"}
    assert not NOT_FOR_WEB & set(printed)


@pytest.mark.parametrize(("signal", "path"), CELERY_RECEIVERS)
def test_receiver__is_connected_and_exists(signal: str, path: str) -> None:
    connected = [key[0] for key, _receiver in getattr(signals, signal).receivers]
    assert path in connected
    assert callable(symbol_by_name(path))


def test_worker__knows_the_task_that_schedules_name() -> None:
    assert printed_by(WORKER) == "True\n"


def test_request__is_found_by_its_path() -> None:
    assert symbol_by_name(OperationTask.Request) is OperationRequest
