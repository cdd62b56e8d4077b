"""Owners of callers: no caller gets the operations of somebody else by accident.

Callers: users without a primary key; users with the key of a row of AUTH_USER_MODEL that are not
this row; users that were deleted or never saved; lazy users; anonymous callers. And wrong values
that a project's `get_owner` may return.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import SimpleLazyObject
from pytest_django import Settings
from rest_framework.request import Request
from rest_framework.test import APIClient

from async_reply import permissions, services
from async_reply.models import Operation
from async_reply.permissions import OperationAccess
from async_reply.services import users
from tests.project import tasks
from tests.project.access import StatelessUser

pytestmark = pytest.mark.django_db


class Proxy(User):
    class Meta:
        proxy = True
        app_label = "auth"


def deleted() -> User:
    user = User.objects.create_user("gone")
    user.delete()
    return user


def stateless(pk: Any) -> Any:
    return StatelessUser(pk)


WITHOUT_ROW: dict[str, Callable[[], Any]] = {
    "without a primary key": lambda: stateless(None),
    "with the number of a user": lambda: stateless(User.objects.create_user("ada").pk),
    "with the text of that number": lambda: stateless(str(User.objects.create_user("ada").pk)),
    "never saved": lambda: User(username="new"),
    "deleted": deleted,
    "of another table": lambda: SimpleNamespace(
        pk=Group.objects.create(name="x").pk, is_authenticated=True
    ),
    "lazy": lambda: SimpleLazyObject(lambda: stateless(7)),
}


@pytest.mark.parametrize("kind", WITHOUT_ROW)
@pytest.mark.parametrize("method", ["get_owner", "get_queryset"])
def test_owner__of_a_user_without_a_row_has_to_be_defined_by_the_project(
    kind: str, method: str
) -> None:
    request: Any = SimpleNamespace(user=WITHOUT_ROW[kind]())
    with pytest.raises(ImproperlyConfigured, match=r"override OperationAccess\.get_owner"):
        getattr(OperationAccess(), method)(request)


@pytest.mark.parametrize("kind", WITHOUT_ROW)
def test_request__of_a_user_without_a_row_is_500(kind: str) -> None:
    services.submit(tasks.echo, owner="None")
    client = APIClient(raise_request_exception=False)
    client.force_authenticate(WITHOUT_ROW[kind]())
    assert client.get("/api/operations/").status_code == 500
    assert client.post("/echoes/", {}).status_code == 500
    assert Operation.objects.count() == 1


def test_owner__of_an_unsaved_user_with_a_default_key_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The users of the project have a UUIDField with a default as their primary key."""
    monkeypatch.setattr(users, "user_model", lambda: Operation)
    user: Any = Operation(kind="x")
    user.is_authenticated = True
    request: Any = SimpleNamespace(user=user)
    assert user.pk is not None
    with pytest.raises(ImproperlyConfigured):
        OperationAccess().get_owner(request)
    user.save()
    assert OperationAccess().get_owner(request) == str(user.pk)


@pytest.mark.parametrize("user", [None, AnonymousUser()])
def test_owner__of_an_anonymous_caller_is_empty(user: Any) -> None:
    request: Any = SimpleNamespace(user=user)
    assert OperationAccess().get_owner(request) == ""
    assert not OperationAccess().get_queryset(request).exists()


@pytest.mark.parametrize("wrap", [lambda user: user, lambda user: SimpleLazyObject(lambda: user)])
@pytest.mark.parametrize("model", [User, Proxy])
def test_owner__of_a_saved_user_is_its_primary_key(model: Any, wrap: Any) -> None:
    user = model.objects.create(username="ada")
    request: Any = SimpleNamespace(user=wrap(user))
    assert OperationAccess().get_owner(request) == str(user.pk)


class WrongAccess(OperationAccess):
    answer: Any = None

    def get_owner(self, request: Request) -> Any:
        return self.answer


@pytest.mark.parametrize(
    ("answer", "status", "owners"), [(None, 403, []), ("", 403, []), (7, 202, ["7"])]
)
def test_owner__returned_by_a_project(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    user: Any,
    answer: Any,
    status: int,
    owners: list[str],
) -> None:
    settings.ASYNC_REPLY = {"ACCESS": "tests.test_permissions.WrongAccess"}
    monkeypatch.setattr(WrongAccess, "answer", answer)
    client = APIClient()
    client.force_login(user)
    assert client.post("/echoes/", {}).status_code == status
    assert [row.owner for row in Operation.objects.all()] == owners


def test_access__is_made_once_for_a_request(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, user: Any
) -> None:
    settings.ASYNC_REPLY = {"ACCESS": "tests.test_permissions.WrongAccess"}
    monkeypatch.setattr(WrongAccess, "answer", "7")
    instances: list[OperationAccess] = []
    monkeypatch.setattr(WrongAccess, "__init__", lambda access: instances.append(access))
    client = APIClient()
    client.force_login(user)
    location = client.post("/echoes/", {})["Location"]
    assert len(instances) == 1
    assert client.get(location).status_code == 200
    assert len(instances) == 2
    assert permissions.access(None) is not permissions.access(None)
