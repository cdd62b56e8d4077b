import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import models
from django.db.models.functions import Now
from django.test.utils import isolate_apps
from pytest_django import Settings

from async_reply.checks.users import check_keys
from async_reply.services import users


@pytest.fixture(autouse=True)
def _apart() -> Iterator[None]:
    """Keep the models of these tests out of the app registry."""
    with isolate_apps("tests.project"):
        yield


def model(key: Any = None, base: type[models.Model] = models.Model) -> type[models.Model]:
    """A user model with this primary key."""
    meta = type("Meta", (), {"app_label": "project"})
    members = {"__module__": "tests.services.test_users", "Meta": meta}
    if key is not None:
        members["key"] = key
    return type(f"User{uuid.uuid4().hex}", (base,), members)


def child(key: Any) -> type[models.Model]:
    return model(base=model(key))


def generate() -> str:
    return uuid.uuid4().hex


NOT_GENERATED = [
    model(models.CharField(max_length=150, primary_key=True)),
    model(models.EmailField(primary_key=True)),
    model(models.SlugField(primary_key=True)),
    model(models.IntegerField(primary_key=True)),
    model(models.CharField(max_length=9, primary_key=True, default="")),
    child(models.CharField(max_length=150, primary_key=True)),
]
GENERATED = [
    model(models.AutoField(primary_key=True)),
    model(models.SmallAutoField(primary_key=True)),
    model(models.BigAutoField(primary_key=True)),
    model(models.UUIDField(primary_key=True)),
    model(models.UUIDField(primary_key=True, default=uuid.uuid4)),
    model(models.CharField(max_length=32, primary_key=True, default=generate)),
    model(models.DateTimeField(primary_key=True, db_default=Now())),
    child(models.BigAutoField(primary_key=True)),
    child(models.UUIDField(primary_key=True)),
]


def ids() -> list[str]:
    return [str(message.id) for message in check_keys(None)]


def name_of(model: Any) -> str:
    return type(users.key_of(model)).__name__


@pytest.mark.parametrize("given", NOT_GENERATED, ids=name_of)
def test_check__keys_that_a_later_user_may_get_are_reported(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, given: type[models.Model]
) -> None:
    monkeypatch.setattr(users, "user_model", lambda: given)
    (warning,) = check_keys(None)
    assert warning.id == "async_reply.W126"
    assert "USER_DELETED" in str(warning.hint)
    assert "get_owner" in str(warning.hint)
    for remedy in ({"USER_DELETED": "remove"}, {"ACCESS": "tests.project.access.TenantAccess"}):
        settings.ASYNC_REPLY = remedy
        assert ids() == []


@pytest.mark.parametrize(
    "generated", [*GENERATED, None], ids=lambda model: model and name_of(model)
)
def test_check__generated_keys_pass(
    monkeypatch: pytest.MonkeyPatch, generated: type[models.Model] | None
) -> None:
    monkeypatch.setattr(users, "user_model", lambda: generated)
    assert ids() == []


@pytest.mark.parametrize("name", ["auth.Nobody", "nowhere.User", "User"])
def test_user_model__unknown_name_is_none(settings: Settings, name: str) -> None:
    settings.AUTH_USER_MODEL = name
    assert users.user_model() is None


def test_user_model__none_has_no_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "user_model", lambda: None)
    assert users.by_key(["1"]) == {}
    assert users.named("ada") == []


def test_named__model_without_user_names_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    nameless = model(models.BigAutoField(primary_key=True))
    monkeypatch.setattr(users, "user_model", lambda: nameless)
    assert users.named("ada") == []
