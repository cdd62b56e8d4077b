"""Checks of a serializer's fields against the parameters of its task."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.checks import run_checks
from django.urls import include, path
from pytest_django import Settings
from rest_framework import serializers

from async_reply import tasks
from async_reply.attempts.jobs import Job
from async_reply.checks import discovery
from async_reply.tasks import operation_task
from async_reply.views import LongRunningOperationView
from tests.checks.messages import ids

UNFIT = {"async_reply.W112", "async_reply.W113"}


@pytest.fixture(autouse=True)
def _kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kinds of a test are forgotten after it, and no worker has to import them."""
    monkeypatch.setattr(tasks, "registered", {})
    monkeypatch.setattr(discovery, "_is_imported_by_workers", lambda name: True)


def view(function: Any, *bases: Any, **members: Any) -> Any:
    """A submit view of the function's task, with these fields in its serializer."""
    fields = {n: f for n, f in members.items() if isinstance(f, serializers.Field)}
    hooks = {name: value for name, value in members.items() if name not in fields}
    bases = bases or (serializers.Serializer,)
    serializer = type("Fields", bases, {**fields, "__module__": "shop"})
    return type(
        "Shop",
        (LongRunningOperationView,),
        {"serializer_class": serializer, "task": operation_task(function), **hooks},
    )


def two(operation: Job, *, year: int, currency: str = "EUR") -> None: ...


def anything(operation: Job, **input: Any) -> None: ...


def decorated(*args: Any, **kwargs: Any) -> None: ...


def alone(operation: Job) -> None: ...


Integer, Char = serializers.IntegerField, serializers.CharField


@pytest.mark.parametrize(
    ("function", "fields", "expected"),
    [
        (two, {}, [("W112", "'year'", "no field")]),
        (two, {"year": Integer(required=False)}, [("W112", "'year'", "left out")]),
        (two, {"year": Integer(read_only=True)}, [("W112", "'year'", "no field")]),
        (two, {"yaer": Integer()}, [("W113", "'yaer'", "no such"), ("W112", "'year'", "no field")]),
        (two, {"year": Integer(), "rows": Integer()}, [("W113", "'rows'", "no such parameter")]),
        (two, {"year": Integer(source="y")}, [("W113", "'y'", ""), ("W112", "'year'", "")]),
    ],
)
def test_input__that_does_not_fit(
    urls: Callable[..., None],
    function: Any,
    fields: dict[str, Any],
    expected: list[tuple[str, str, str]],
) -> None:
    urls(view(function, **fields))
    messages = run_checks(tags=["async_reply"], databases=[])
    assert [message.id for message in messages] == [f"async_reply.{id_}" for id_, *_ in expected]
    for message, (_id, *texts) in zip(messages, expected, strict=True):
        assert [text for text in texts if text not in message.msg] == []


@pytest.mark.parametrize(
    ("function", "fields"),
    [
        (two, {"year": Integer()}),
        (two, {"year": Integer(default=2024), "currency": Char(required=False)}),
        (two, {"year": Integer(write_only=True), "id": Integer(read_only=True)}),
        (two, {"year": serializers.HiddenField(default=2024)}),
        (two, {"which": Integer(source="year")}),
        (two, {"first": Integer(source="year.first"), "last": Integer(source="year.last")}),
        (two, {"all": serializers.DictField(source="*")}),
        (anything, {"rows": Integer()}),
        (decorated, {"rows": Integer()}),
        (alone, {"rows": Integer()}),
    ],
)
def test_input__that_fits(urls: Callable[..., None], function: Any, fields: dict[str, Any]) -> None:
    urls(view(function, **fields))
    assert ids() == []


class Validated(serializers.Serializer[Any]):
    __module__ = "shop"

    def validate(self, attrs: Any) -> Any:
        return {"year": 2024}


@pytest.mark.parametrize("hook", ["get_input", "get_serializer", "get_serializer_class", "post"])
def test_input__that_the_view_makes_itself(urls: Callable[..., None], hook: str) -> None:
    own = view(two, **{hook: getattr(LongRunningOperationView, hook)})
    urls(own)
    assert set(ids()) & UNFIT == set()


def test_input__that_the_serializer_changes(urls: Callable[..., None]) -> None:
    urls(view(two, Validated))
    assert ids() == []


def test_input__fields_that_cannot_be_made(urls: Callable[..., None]) -> None:
    class OfTheRequest(serializers.IntegerField):
        def bind(self, field_name: str, parent: Any) -> None:
            raise LookupError(parent.context["request"])

    urls(view(two, rows=OfTheRequest()))
    assert ids() == []


def test_input__in_the_url(settings: Settings) -> None:
    by_url, without = view(two), view(two)

    class Module:
        urlpatterns = [
            path("", include("async_reply.urls")),
            path("a/<int:year>/", by_url.as_view()),
            path("b/<int:year>/", include([path("c/", by_url.as_view())])),
            path("d/", by_url.as_view(), {"year": 2024}),
        ]

    settings.ROOT_URLCONF = Module
    assert ids() == []
    Module.urlpatterns.append(path("e/", without.as_view()))
    settings.ROOT_URLCONF = type("Other", (), {"urlpatterns": Module.urlpatterns})
    assert ids() == ["async_reply.W112"]


def test_input__of_the_demo_and_of_the_tests_project() -> None:
    assert set(ids()) & UNFIT == set()
