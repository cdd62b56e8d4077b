"""Projects with a user model of their own: a user is deleted, and a user of the same name joins."""

from pathlib import Path

import pytest

from tests.projects.project import Project

pytestmark = [pytest.mark.system, pytest.mark.projects]

SETTINGS = """
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "rest_framework",
    "async_reply",
    "project",
]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
AUTH_USER_MODEL = "project.User"
REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": []}
ASYNC_REPLY = {"USER_DELETED": %r}
"""
MODELS = """
import uuid

from django.contrib.auth.models import AbstractBaseUser
from django.db import models


class User(AbstractBaseUser):
    name = models.CharField(max_length=150, unique=True)
    key = %s
    USERNAME_FIELD = "name"


class Person(User):
    class Meta:
        proxy = True
"""
NATURAL = "models.CharField(max_length=150, primary_key=True)"
DRAWN = "models.UUIDField(primary_key=True, default=uuid.uuid4)"
#: Deletes a user by a proxy model and signs up another user of the same name.
SUCCESSION = """
from rest_framework.test import APIClient

from async_reply.protocol import valet_keys
from async_reply.models import Operation
from async_reply.testing import run_operations
from project.models import Person, User


def signed_up():
    user = User(name="ada", **({"key": "ada"} if "natural" in sys.argv else {}))
    user.save()
    client = APIClient()
    client.force_authenticate(user)
    return user, client


user, first = signed_up()
accepted = first.post("/add/", {"left": 1, "right": 2}, format="json")
assert accepted.status_code == 202, accepted.content
run_operations()
operation = Operation.objects.get()
owner_is_key = operation.owner == str(user.pk)
link = accepted["Location"] + "?sig=" + valet_keys.make(operation.pk, scope="read", seconds=3600)
Person.objects.filter(pk=user.pk).delete()
_, second = signed_up()
tell(
    owner_is_key=owner_is_key,
    link=APIClient().get(link).status_code,
    seen=second.get(accepted["Location"]).status_code,
)
"""


def make_project(folder: Path, *, key: str, deleted: str) -> Project:
    project = Project(folder, SETTINGS % deleted, {"project/models.py": MODELS % key})
    project.manage("makemigrations", "project")
    project.manage("migrate")
    return project


@pytest.mark.parametrize(
    ("key", "deleted", "warned", "link", "seen"),
    [
        # The next user with this key is the owner, as W126 warns.
        (NATURAL, "keep", True, 302, 302),
        (NATURAL, "remove", False, 410, 410),
        (DRAWN, "keep", False, 302, 404),
        (DRAWN, "remove", False, 410, 404),
    ],
    ids=["natural-keep", "natural-remove", "drawn-keep", "drawn-remove"],
)
def test_user__of_the_same_name_as_a_deleted_user(
    tmp_path: Path, key: str, deleted: str, warned: bool, link: int, seen: int
) -> None:
    project = make_project(tmp_path, key=key, deleted=deleted)
    assert ("async_reply.W126" in project.manage("check")) is warned
    assert "No changes" in project.manage("makemigrations", "--check", "--dry-run")
    values = project.script(SUCCESSION, *(["natural"] if key == NATURAL else []))
    assert values == {"owner_is_key": True, "link": link, "seen": seen}
