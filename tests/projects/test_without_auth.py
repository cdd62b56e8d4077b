"""A project with an authentication of its own, and nothing of django.contrib."""

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
ada, eve, nobody = (APIClient(headers=each, **THREADS) for each in callers)


def submit(left, **headers):
    return ada.post("/add/", {"left": left, "right": 2}, format="json", headers=headers)


def finished(accepted):
    until(lambda: ada.get(accepted["Location"]).status_code == 302)
    return ada.get(f"{accepted['Location']}result/")


made = [submit(left) for left in (1, -1, 100)]
results = [finished(each) for each in made]
waited = submit(3, Prefer="wait=30")
url = made[0]["Location"]
events = b"".join(ada.get(f"{url}events/")).decode()
told = {
    "submits": [each.status_code for each in made],
    "results": [each.status_code for each in results],
    "sum": results[0].json(),
    "file": b"".join(results[2]).decode(),
    "waited": [waited.status_code, waited.json()],
    "events": "event: succeeded" in events,
    "listed": [len(each.get("/operations/").json()["results"]) for each in (ada, eve)],
    "others": [each.get(url).status_code for each in (eve, nobody)],
    "nobody": nobody.post("/add/", {}, format="json").status_code,
    "deleted": ada.delete(url).status_code,
}
owners.remove("ada")
tell(**told, left=len(ada.get("/operations/").json()["results"]))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("plain"), SETTINGS, {"project/access.py": ACCESS})
    made.manage("migrate")
    return made


def test_checks__find_nothing(project: Project) -> None:
    found = project.manage("check", "--database", "default", "--fail-level", "WARNING")
    assert "no issues" in found


def test_migrations__are_complete(project: Project) -> None:
    assert "No changes" in project.manage("makemigrations", "--check", "--dry-run")


def test_conversation__with_a_real_worker(project: Project) -> None:
    with project.worker():
        told = project.script(CONVERSATION)
    assert told == {
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


def test_maintenance__by_the_command(project: Project) -> None:
    assert "operations published" in project.manage("async_reply_maintain", "--once")


def test_process__imports_no_models_of_django_contrib(project: Project) -> None:
    told = project.script(
        """
import importlib
from pathlib import Path

import async_reply

root = Path(async_reply.__file__).parent
for path in root.rglob("*.py"):
    parts = path.relative_to(root).with_suffix("").parts
    if parts[0] not in ("admin", "contrib", "migrations") and parts[-1] != "__init__":
        importlib.import_module(".".join(["async_reply", *parts]))
found = [each for each in sys.modules if each.startswith("django.contrib.")]
tell(found=[each for each in found if each.endswith(".models")])
"""
    )
    assert told == {"found": []}
