"""A project with its own authentication, and without any app of django.contrib."""

import pytest

from tests.projects.project import Project

pytestmark = [pytest.mark.system, pytest.mark.projects]

SETTINGS = """
INSTALLED_APPS = ["rest_framework", "async_reply", "project"]
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["project.access.KeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "UNAUTHENTICATED_USER": None,
}
ASYNC_REPLY = {"ACCESS": "project.access.Access"}
"""
ACCESS = """
from rest_framework.authentication import BaseAuthentication

from async_reply.permissions import OperationAccess


class Caller:
    is_authenticated = True

    def __init__(self, name):
        self.pk = self.name = name


class KeyAuthentication(BaseAuthentication):
    def authenticate(self, request):
        name = request.headers.get("X-Name")
        return (Caller(name), None) if name else None

    def authenticate_header(self, request):
        return "Name"


class Access(OperationAccess):
    def get_owner(self, request):
        return request.user.name if request.user else ""
"""
CONVERSATION = """
from rest_framework.test import APIClient

from async_reply.services import owners

callers = ({"X-Name": "ada"}, {"X-Name": "eve"}, {})
ada, eve, nobody = (APIClient(headers=headers, **THREADS) for headers in callers)


def submit(left, **headers):
    return ada.post("/add/", {"left": left, "right": 2}, format="json", headers=headers)


def finished(accepted):
    until(lambda: ada.get(accepted["Location"]).status_code == 302)
    return ada.get(f"{accepted['Location']}result/")


submits = [submit(left) for left in (1, -1, 100)]
results = [finished(answer) for answer in submits]
waited = submit(3, Prefer="wait=30")
url = submits[0]["Location"]
events = b"".join(ada.get(f"{url}events/")).decode()
values = {
    "submits": [answer.status_code for answer in submits],
    "results": [answer.status_code for answer in results],
    "sum": results[0].json(),
    "file": b"".join(results[2]).decode(),
    "waited": [waited.status_code, waited.json()],
    "events": "event: succeeded" in events,
    "listed": [len(client.get("/operations/").json()["results"]) for client in (ada, eve)],
    "others": [client.get(url).status_code for client in (eve, nobody)],
    "nobody": nobody.post("/add/", {}, format="json").status_code,
    "deleted": ada.delete(url).status_code,
}
owners.remove("ada")
tell(**values, left=len(ada.get("/operations/").json()["results"]))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("plain"), SETTINGS, {"project/access.py": ACCESS})
    project.manage("migrate")
    return project


def test_checks__report_no_issues(project: Project) -> None:
    output = project.manage("check", "--database", "default", "--fail-level", "WARNING")
    assert "no issues" in output


def test_migrations__are_complete(project: Project) -> None:
    assert "No changes" in project.manage("makemigrations", "--check", "--dry-run")


def test_conversation__with_a_real_worker(project: Project) -> None:
    with project.worker():
        values = project.script(CONVERSATION)
    assert values == {
        "submits": [202, 202, 202],
        "results": [200, 422, 200],
        "sum": {"sum": 3},
        "file": "many",
        "waited": [200, {"sum": 5}],
        "events": True,
        "listed": [4, 0],
        "others": [404, 401],
        "nobody": 401,
        "deleted": 204,
        "left": 0,
    }


def test_maintenance__runs_by_the_command(project: Project) -> None:
    assert "operations published" in project.manage("async_reply_maintain", "--once")


def test_modules__import_no_models_of_django_contrib(project: Project) -> None:
    values = project.script(
        """
import importlib
from pathlib import Path

import async_reply

root = Path(async_reply.__file__).parent
for path in root.rglob("*.py"):
    parts = path.relative_to(root).with_suffix("").parts
    if parts[0] not in ("admin", "contrib", "migrations") and parts[-1] != "__init__":
        importlib.import_module(".".join(["async_reply", *parts]))
contrib = [name for name in sys.modules if name.startswith("django.contrib.")]
tell(models=[name for name in contrib if name.endswith(".models")])
"""
    )
    assert values == {"models": []}
