"""Writes projects that differ from the demo into a folder, and runs their processes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demo_project.processes import Process

ROOT = Path(__file__).parents[2]
#: Settings that all projects share. The settings of each project follow them.
SETTINGS = """
from pathlib import Path

FOLDER = Path(__file__).parents[1]
SECRET_KEY = "of-a-test" * 8
ALLOWED_HOSTS = ["testserver"]
ROOT_URLCONF = "project.urls"
USE_TZ = True
STORAGES = {
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": FOLDER / "files"},
    },
}


def sqlite(name):
    options = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL;",
    }
    file = str(FOLDER / f"{name}.sqlite3")
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": file, "OPTIONS": options}


DATABASES = {"default": sqlite("default")}
CELERY_BROKER_URL = "filesystem://"
CELERY_BROKER_TRANSPORT = "demo_project.transport:Transport"
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "data_folder_in": str(FOLDER / "messages"),
    "data_folder_out": str(FOLDER / "messages"),
    "control_folder": str(FOLDER / "control"),
}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_DB_REUSE_MAX = 1000
"""
FILES = {
    "project/__init__.py": "from project.celery import app as celery_app\n",
    "project/celery.py": """
from celery import Celery

app = Celery("project")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
""",
    "project/tasks.py": """
from async_reply.exceptions import OperationFailed
from async_reply.tasks import operation_task


@operation_task
def add(operation, *, left, right):
    operation.progress(50, message="Adding")
    if left < 0:
        raise OperationFailed("Not below 0.", code="negative", status_code=422)
    if left > 99:
        return operation.file(b"many", name="many.txt", content_type="text/plain")
    return {"sum": left + right}
""",
    "project/views.py": """
from rest_framework import serializers

from async_reply.views import LongRunningOperationView
from project.tasks import add


class AddSerializer(serializers.Serializer):
    left = serializers.IntegerField()
    right = serializers.IntegerField()


class AddView(LongRunningOperationView):
    serializer_class = AddSerializer
    task = add
""",
    "project/urls.py": """
from django.urls import include, path

from project.views import AddView

urlpatterns = [path("add/", AddView.as_view()), path("", include("async_reply.urls"))]
""",
}
#: The first lines of each script of a test.
START = """
import json
import sys
import time

import django

django.setup()
#: For a test client: the environment of a server whose threads may wait.
THREADS = {"wsgi.multithread": True}


def until(condition):
    give_up = time.monotonic() + 60
    while not condition():
        if time.monotonic() > give_up:
            raise SystemExit("waited 60 s without success")
        time.sleep(0.05)


def tell(**values):
    print(json.dumps(values))
"""


class Project:
    """A project with SETTINGS and `settings`. `files` are added, or replace those of FILES."""

    def __init__(self, folder: Path, settings: str, files: dict[str, str] | None = None) -> None:
        self.folder = folder
        for name, text in {
            **FILES,
            "project/settings.py": SETTINGS + settings,
            **(files or {}),
        }.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            (path.parent / "__init__.py").touch()
            path.write_text(text)
        variables = {key: value for key, value in os.environ.items() if not key.startswith("COV_")}
        self.environment = {
            **variables,
            "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
            "DJANGO_SETTINGS_MODULE": "project.settings",
        }

    def run(self, *arguments: str) -> str:
        """Run Python with these arguments; return its output."""
        process = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert process.returncode == 0, process.stderr + process.stdout
        return process.stdout + process.stderr

    def manage(self, *arguments: str) -> str:
        """Run a command of Django, with warnings as errors; return its output."""
        return self.run("-W", "error", "-m", "django", *arguments)

    def script(self, text: str, *arguments: str) -> dict[str, Any]:
        """Run a script; return the values that it tells."""
        path = self.folder / "script.py"
        path.write_text(START + text)
        values: dict[str, Any] = json.loads(self.run(str(path), *arguments).splitlines()[-1])
        return values

    @contextmanager
    def worker(self) -> Iterator[Process]:
        """Run a real worker until the end of the block."""
        command = [sys.executable, "-m", "celery", "-A", "project", "worker", "--concurrency", "1"]
        logs = self.folder / "logs"
        process = Process(
            "worker", command, logs=logs, environment=self.environment, folder=self.folder
        )
        try:
            yield process
        finally:
            process.stop()
