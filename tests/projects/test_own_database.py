"""The app's tables are in a database of their own, and the default database lacks them.

A statement on the wrong database fails, and a transaction on the wrong database keeps a row too
many. The tests try submits, refusals in hooks, quotas, keys, polls, waits, streams, lists,
cancels, files, reruns, deletions, purges, webhooks, commands, checks, and the pages and actions of
the admin.
"""

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
    "async_reply.contrib.webhooks",
    "project",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
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
DATABASES = {
    "default": {**sqlite("default"), "ATOMIC_REQUESTS": True},
    "operations": sqlite("operations"),
}
DATABASE_ROUTERS = ["project.routers.Router"]
REST_FRAMEWORK = {"DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"]}
ASYNC_REPLY = {"MAX_UNFINISHED": 5, "USER_DELETED": "remove"}
"""
FILES = {
    "project/routers.py": """
LABELS = {"async_reply", "async_reply_webhooks"}


class Router:
    def db_for_read(self, model, **hints):
        return "operations" if model._meta.app_label in LABELS else "default"

    db_for_write = db_for_read

    def allow_migrate(self, db, app_label, **hints):
        return (db == "operations") == (app_label in LABELS)
""",
    "project/urls.py": """
from django.contrib import admin
from django.contrib.auth.models import Group
from django.urls import include, path
from rest_framework.decorators import action
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from async_reply.views import LongRunningOperationMixin
from project.tasks import add
from project.views import AddView


class RefusingView(AddView):
    def perform_submit(self, operation):
        raise ValueError("not this one")


class Things(LongRunningOperationMixin, ViewSet):
    @action(detail=False, methods=["post"])
    def act(self, request):
        Group.objects.create(name="acted")
        answer = self.submit(request, add, {"left": 1, "right": 1})
        if request.query_params:
            raise ValueError("the view fails after the submit")
        return answer


urlpatterns = [
    path("admin/", admin.site.urls),
    path("add/", AddView.as_view()),
    path("refusing/", RefusingView.as_view()),
    path("act/", Things.as_view({"post": "act"})),
    path("", include("async_reply.contrib.webhooks.urls")),
    path("", include("async_reply.urls")),
]
""",
}
START = """
from django.contrib.auth.models import Group, User
from rest_framework.test import APIClient

from async_reply import services
from async_reply.models import Operation, OperationFile, OperationResult, Worker

ada = User.objects.create_superuser("ada")
client = APIClient(raise_request_exception=False, **THREADS)
client.force_login(ada)


def submit(left=1, url="/add/", **headers):
    return client.post(url, {"left": left, "right": 2}, format="json", headers=headers)


def count():
    return Operation.objects.count()
"""
CONVERSATION = (
    START
    + """
key = {"Idempotency-Key": "k"}
first, again = submit(**key), submit(**key)
url = first["Location"]
until(lambda: client.get(url).status_code == 302)
waited = submit(3, Prefer="wait=30")
file = submit(100)
until(lambda: client.get(file["Location"]).status_code == 302)
failed = submit(-1, Prefer="wait=30")
acted = submit(url="/act/")
until(lambda: client.get(acted["Location"]).status_code == 302)
tell(
    submits=[first.status_code, again.json()["id"] == first.json()["id"]],
    result=client.get(f"{url}result/").json(),
    waited=[waited.status_code, waited.json()],
    file=b"".join(client.get(f"{file['Location']}result/")).decode(),
    failed=failed.status_code,
    events="event: succeeded" in b"".join(client.get(f"{url}events/")).decode(),
    listed=len(client.get("/operations/").json()["results"]),
    deleted=client.delete(file["Location"]).status_code,
    files=OperationFile.objects.count(),
    workers=Worker.objects.count(),
)
"""
)
WITHOUT_WORKER = (
    START
    + """
from django.core.management import call_command
from django.utils import timezone

from async_reply.contrib.webhooks.models import Delivery
from async_reply.services import owners, retention
from async_reply.testing import run_operations

Operation.objects.all().delete()
hook = client.post("/webhooks/", {"url": "https://example.org/"}, format="json").json()
hooks = [
    client.patch(f"/webhooks/{hook['id']}/", {"whole": True}, format="json").status_code,
    client.post(f"/webhooks/{hook['id']}/secret/").status_code,
    client.post("/webhooks/callback-secret/").status_code,
    client.post("/webhooks/callback-secret/").status_code,
]
refused = [submit(url="/refusing/").status_code, submit(url="/act/?no").status_code]
left = [count(), Delivery.objects.count(), Group.objects.filter(name="acted").count()]
several = [submit().status_code for _ in range(7)]
canceled = client.post(client.get("/operations/").json()["results"][0]["links"]["cancel"]).json()
reports = [report.ending.value for report in run_operations()]
pages = [
    client.get(f"/admin/async_reply/{page}").status_code
    for page in ("operation/", "worker/", f"operation/{Operation.objects.first().pk}/change/")
]
done = Operation.objects.filter(status="succeeded").first()
acts = {}
for action in ("rerun", "cancel"):
    data = {"action": f"{action}_operations", "_selected_action": [str(done.pk)]}
    answer = client.post("/admin/async_reply/operation/", data, format="multipart")
    acts[action] = answer.status_code
reruns = Operation.objects.filter(rerun_of=done).count()
Operation.objects.filter(status="succeeded").update(purge_at=timezone.now())
purged = retention.purge()
call_command("async_reply_maintain", "--once")
pk = ada.pk
ada.delete()
tell(
    hooks=hooks,
    refused=refused,
    left=left,
    several=several,
    canceled=canceled["status"],
    reports=reports,
    pages=pages,
    acts=acts,
    reruns=reruns,
    purged=purged,
    results=OperationResult.objects.count(),
    unfinished=Operation.objects.unfinished().filter(owner=str(pk)).count(),
)
"""
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path, SETTINGS, FILES)
    for alias in ("default", "operations"):
        project.manage("migrate", "--database", alias)
    return project


def test_checks__report_no_issues(project: Project) -> None:
    options = ["--database", "default", "--database", "operations"]
    assert "no issues" in project.manage("check", *options, "--fail-level", "WARNING")


def test_conversation__with_a_real_worker(project: Project) -> None:
    with project.worker():
        values = project.script(CONVERSATION)
    assert values == {
        "submits": [202, True],
        "result": {"sum": 3},
        "waited": [200, {"sum": 5}],
        "file": "many",
        "failed": 422,
        "events": True,
        "listed": 5,
        "deleted": 204,
        "files": 0,
        "workers": 1,
    }


def test_refusals_and_admin__without_a_worker(project: Project) -> None:
    values = project.script(WITHOUT_WORKER)
    assert values == {
        "hooks": [200, 200, 201, 201],
        "refused": [500, 500],
        # The view's transaction is on the default database, so the operation in the other stays.
        "left": [1, 1, 0],
        "several": [202, 202, 202, 202, 429, 429, 429],
        "canceled": "canceled",
        "reports": ["succeeded"] * 4,
        "pages": [200, 200, 200],
        "acts": {"rerun": 302, "cancel": 302},
        "reruns": 1,
        "purged": 4,
        "results": 0,
        "unfinished": 0,
    }
