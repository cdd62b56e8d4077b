"""A project whose user is a model of two tables, with a field and a `from_db` of its own."""

from pathlib import Path

import pytest

from tests.projects.project import Project

pytestmark = [pytest.mark.system, pytest.mark.projects]

SETTINGS = """
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "rest_framework",
    "rest_framework.authtoken",
    "async_reply",
    "project",
]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
AUTH_USER_MODEL = "project.User"
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["project.authentication.BearerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["project.authentication.IsShouting"],
}
"""
MODELS = """
from django.contrib.auth.models import AbstractBaseUser
from django.db import models


class ShoutedField(models.CharField):
    def from_db_value(self, value, expression, connection):
        return value.upper()


class Account(models.Model):
    motto = ShoutedField(max_length=150)


class User(Account, AbstractBaseUser):
    name = models.CharField(max_length=150, unique=True)
    USERNAME_FIELD = "name"
    is_read = False

    @classmethod
    def from_db(cls, *args):
        user = super().from_db(*args)
        user.is_read = True
        return user
"""
AUTHENTICATION = """
from rest_framework.authentication import TokenAuthentication
from rest_framework.permissions import BasePermission


class BearerAuthentication(TokenAuthentication):
    keyword = "Bearer"


class IsShouting(BasePermission):
    def has_permission(self, request, view):
        user = request.user
        return user.is_read and user.motto == "AHEAD" and request.auth.user is user
"""
SCRIPT = """
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from project.models import User

user = User.objects.create(name="ada", motto="ahead")
key = Token.objects.create(user=user).key
client = APIClient(headers={"authorization": f"Bearer {key}"})
accepted = client.post("/add/", {"left": 1, "right": 2}, format="json")
polled = client.get(accepted["Location"])
user.delete()
tell(accepted=accepted.status_code, polled=polled.status_code,
     deleted=client.get(accepted["Location"]).status_code)
"""


def test_token__of_a_user_model_of_two_tables(tmp_path: Path) -> None:
    files = {"project/models.py": MODELS, "project/authentication.py": AUTHENTICATION}
    project = Project(tmp_path, SETTINGS, files)
    project.manage("makemigrations", "project")
    project.manage("migrate")
    values = project.script(SCRIPT)
    assert values == {"accepted": 202, "polled": 200, "deleted": 401}
