"""The router reads operations from a replica that lags so far behind that it has no tables.

Nothing may read from it. The test covers migrate, checks, submits (plain, repeated with a key,
waiting, with a file), poll, list, result, events, cancel, delete, rerun, a job's own writes and
callback, worker, purge, a deleted user, the rows of workers, the pages and commands of the admin.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.projects.project import Project

pytestmark = [pytest.mark.system, pytest.mark.projects]

SETTINGS = """
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "rest_framework",
    "async_reply",
    "project",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"
DATABASES["operations"] = sqlite("operations")
DATABASES["replica"] = sqlite("replica")
DATABASES["default"]["ATOMIC_REQUESTS"] = True
DATABASE_ROUTERS = ["project.routers.Router"]
ASYNC_REPLY = {"USER_DELETED": "remove", "LEASE": 5}
"""
FILES = {
    "project/routers.py": """
class Router:
    def db_for_read(self, model, **hints):
        return "replica" if model._meta.app_label == "async_reply" else None

    def db_for_write(self, model, **hints):
        return "operations" if model._meta.app_label == "async_reply" else None

    def allow_relation(self, one, other, **hints):
        return True

    def allow_migrate(self, db, app_label, **hints):
        return (db == "operations") == (app_label == "async_reply") and db != "replica"
""",
    "project/models.py": """
from django.db import models


class Note(models.Model):
    text = models.CharField(max_length=100)
""",
    "project/tasks.py": """
from async_reply.exceptions import OperationFailed
from async_reply.tasks import operation_task


@operation_task
def add(operation, *, left, right, file=None):
    from project.models import Note

    Note.objects.create(text=str(operation.id))
    operation.on_finish(lambda: Note.objects.create(text="finished"))
    operation.progress(50, message="Adding")
    if left < 0:
        raise OperationFailed("Not below 0.", code="negative", status_code=422)
    if file is not None:
        return operation.file(file.read().upper(), name="upper.txt", content_type="text/plain")
    return {"sum": left + right}
""",
    "project/views.py": """
from rest_framework import serializers

from async_reply.views import LongRunningOperationView
from project.models import Note
from project.tasks import add


class AddSerializer(serializers.Serializer):
    left = serializers.IntegerField()
    right = serializers.IntegerField()
    file = serializers.FileField(required=False)


class AddView(LongRunningOperationView):
    serializer_class = AddSerializer
    task = add

    def perform_submit(self, operation):
        Note.objects.create(text="submitted")
""",
    "project/urls.py": """
from django.contrib import admin
from django.urls import include, path

from project.views import AddView

urlpatterns = [
    path("admin/", admin.site.urls),
    path("add/", AddView.as_view()),
    path("", include("async_reply.urls")),
]
""",
}
SCRIPT = """
from datetime import timedelta

from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connections
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from async_reply import services
from async_reply.database import alias
from async_reply.database.clock import after
from async_reply.models import Operation, OperationFile, Worker
from async_reply.services import retention
from async_reply.worker import maintenance
from project.models import Note
from project.tasks import add

user = User.objects.create_user("ada")
api = APIClient(**THREADS)
api.force_login(user)
staff = Client()
staff.force_login(User.objects.create_superuser("root"))
PAGE = "/admin/async_reply/operation/"


def submit(left=1, **headers):
    return api.post("/add/", {"left": left, "right": 2}, format="json", headers=headers)


def finished(accepted):
    until(lambda: api.get(accepted["Location"]).status_code == 302)
    return api.get(accepted["Location"] + "result/")


def later():
    soon = timezone.now() + timedelta(hours=1)
    values = {"left": 1, "right": 1}
    return services.submit(add, input=values, owner=str(user.pk), available_at=soon)


def command(operation, name):
    url = f"{PAGE}{operation.pk}/actions/{name}/"
    return staff.post(url, {"confirmed": "yes"}, follow=True).status_code


def status(operation):
    return Operation.objects.get(pk=operation.pk).status


values = {"database": alias()}
first = submit(**{"Idempotency-Key": "k"})
again = submit(**{"Idempotency-Key": "k"})
values["replayed"] = [first.status_code, again.status_code, first.json() == again.json()]
values["result"] = finished(first).json()
values["waited"] = submit(**{"Prefer": "wait=30"}).json()
failed = submit(-1)
values["failed"] = finished(failed).status_code
upload = SimpleUploadedFile("lower.txt", b"lower")
sent = api.post("/add/", {"left": 1, "right": 2, "file": upload}, format="multipart")
values["file"] = b"".join(finished(sent)).decode()
values["events"] = "succeeded" in b"".join(api.get(first["Location"] + "events/")).decode()
values["list"] = len(api.get("/operations/?status=succeeded").json()["results"])
values["monitor"] = api.get(first["Operation-Location"]).json()["status"]
delayed = later()
values["cancel"] = api.post(f"/operations/{delayed.pk}/cancel/").status_code
url = first["Location"]
values["delete"] = [api.delete(url).status_code, api.get(url).status_code]
operation = Operation.objects.get(pk=failed["Operation-Id"])
rerun = services.rerun(operation)
until(lambda: status(rerun) == "failed")

lost = later()
held = {"status": "running", "attempt": 1, "lease_expires_at": after(-60)}
Operation.objects.filter(pk=lost.pk).update(**held)
until(lambda: status(lost) == "failed" or Operation.objects.get(pk=lost.pk).losses)
values["lost"] = Operation.objects.get(pk=lost.pk).losses

values["pages"] = [staff.get(url).status_code for url in (
    PAGE, f"{PAGE}?status=failed", f"{PAGE}{operation.pk}/change/",
    f"{PAGE}{sent['Operation-Id']}/change/", "/admin/async_reply/worker/",
    f"/admin/async_reply/worker/{Worker.objects.get().pk}/change/", "/admin/",
)]
page = staff.get(f"{PAGE}{rerun.pk}/change/").content.decode()
values["lineage"] = str(operation.pk) in page
row = OperationFile.objects.filter(role="result").get()
values["download"] = b"".join(
    staff.get(f"{PAGE}{row.operation_id}/files/{row.pk}/").streaming_content
).decode()
other = later()
values["commands"] = [command(other, "cancel"), status(other), command(operation, "rerun"),
                    command(operation, "delete")]
values["in bulk"] = staff.post(PAGE, {"action": "cancel_operations", "_selected_action": [
    str(later().pk)]}, follow=True).status_code
until(lambda: not Operation.objects.active().exists())

last = later()
user.delete()
values["removed"] = status(last)
Operation.objects.exclude(status="pending").update(purge_at=after(-1))
values["purged"] = retention.purge() > 0
values["notes"] = Note.objects.filter(text="submitted").count()
values["callbacks"] = Note.objects.filter(text="finished").exists()
values["left open"] = [item.alias for item in connections.all() if item.in_atomic_block]
tell(**values)
"""
EXPECTED = {
    "database": "operations",
    "replayed": [202, 202, True],
    "result": {"sum": 3},
    "waited": {"sum": 3},
    "failed": 422,
    "file": "LOWER",
    "events": True,
    "list": 3,
    "monitor": "succeeded",
    "cancel": 200,
    "delete": [204, 404],
    "lost": 1,
    "pages": [200] * 7,
    "lineage": True,
    "download": "LOWER",
    "commands": [200, "canceled", 200, 200],
    "in bulk": 200,
    "removed": "canceled",
    "purged": True,
    "notes": 4,
    "callbacks": True,
    "left open": [],
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path, SETTINGS, FILES)
    project.manage("makemigrations", "project")
    for alias in ("default", "operations"):
        project.manage("migrate", "--database", alias)
    return project


@pytest.fixture
def worker(project: Project) -> Iterator[None]:
    with project.worker() as process:
        yield
        assert process.popen.poll() is None
        assert "no such table" not in process.tail(1000), process.tail(1000)


def test_everything__works_without_the_replica(project: Project, worker: None) -> None:
    assert project.script(SCRIPT) == EXPECTED
