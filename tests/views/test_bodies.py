"""The job's input as it is made from the data of a serializer.

Keys that a serializer does not declare: by its own `to_internal_value`, a JSON object, a list, a
field with `source="*"`. Values that JSON has no type for (enums, time zones, phone numbers, IP
addresses, sets, bytes, dates, models, lazy texts): alone, in lists, in dicts and in nested
serializers.
"""

import datetime as dt
import enum
import ipaddress
import logging
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from decimal import Decimal
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group
from django.core.handlers.asgi import ASGIRequest
from django.db import models
from django.http import HttpRequest
from django.test import AsyncClient
from django.urls import path
from django.utils.translation import gettext_lazy
from pytest_django import Settings
from rest_framework import serializers
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.test import APIClient

from async_reply.attempts.reports import Ending
from async_reply.models import Operation
from async_reply.tasks import operation_task
from async_reply.testing import run_operations
from async_reply.views import LongRunningOperationMixin
from async_reply.views.bodies import LengthRequired, check_length
from tests.project import urls
from tests.project.views import EchoView

pytestmark = pytest.mark.django_db

PROBLEM = "application/problem+json"


@operation_task(name="tests.bodies.take")
def take(operation: Any, *, value: Any = None, other: int = 0) -> None: ...


@operation_task(name="tests.bodies.take_all")
def take_all(operation: Any, /, **values: Any) -> None: ...


class Lenient(serializers.Serializer[Any]):
    """Keeps each key that the client sends."""

    value = serializers.JSONField(required=False)

    def to_internal_value(self, data: Any) -> Any:
        return {**super().to_internal_value(data), **data}


class Everything(serializers.BaseSerializer[Any]):
    """Returns the body as it is."""

    def to_internal_value(self, data: Any) -> Any:
        return data


class Inner(serializers.Serializer[Any]):
    value = serializers.IntegerField()


class Merged(serializers.Serializer[Any]):
    inner = Inner(source="*")


@pytest.fixture
def view(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def put(serializer: Any, task: Any = take) -> None:
        monkeypatch.setattr(EchoView, "serializer_class", serializer)
        monkeypatch.setattr(EchoView, "task", task)

    return put


@pytest.mark.parametrize("serializer", [Lenient, Everything])
@pytest.mark.parametrize("key", ["unknown", "operation", "self", "a b", "", "class", "é", "__x__"])
def test_key__unknown_to_the_job_is_400(
    api: APIClient, view: Callable[..., None], serializer: Any, key: str
) -> None:
    view(serializer)
    answer = api.post("/echoes/", {key: 1, "value": 2})
    assert (answer.status_code, answer["Content-Type"]) == (400, PROBLEM)
    assert list(answer.json()["errors"]) == [key]
    assert not Operation.objects.exists()


@pytest.mark.parametrize("serializer", [Lenient, Everything])
def test_key__known_to_the_job_is_input(
    api: APIClient, view: Callable[..., None], serializer: Any
) -> None:
    view(serializer)
    assert api.post("/echoes/", {"other": 1, "value": 2}).status_code == 202
    assert Operation.objects.get().input == {"other": 1, "value": 2}


@pytest.mark.parametrize("key", ["unknown", "a b", "class", "operation"])
def test_key__of_any_name_is_input_of_a_job_with_kwargs(
    api: APIClient, view: Callable[..., None], key: str
) -> None:
    view(Lenient, take_all)
    assert api.post("/echoes/", {key: 1}).status_code == 202
    assert run_operations()[0].ending is Ending.SUCCEEDED


def test_key__of_a_merged_field_is_declared(api: APIClient, view: Callable[..., None]) -> None:
    view(Merged)
    assert api.post("/echoes/", {"inner": {"value": 3}}).status_code == 202
    assert Operation.objects.get().input == {"value": 3}


def test_key__of_the_url_replaces_the_client_s(
    api: APIClient, view: Callable[..., None], settings: Settings
) -> None:
    view(Lenient, take_all)
    assert api.post("/echoes/9/", {"number": 1}).status_code == 202
    assert Operation.objects.get().input["number"] == 9


class Undeclared(serializers.Serializer[Any]):
    year = serializers.IntegerField(required=False)


def test_key__declared_by_the_project_and_unknown_to_the_job_is_a_type_error(
    api: APIClient, view: Callable[..., None]
) -> None:
    view(Undeclared)
    with pytest.raises(TypeError, match="Make the view's get_input"):
        api.post("/echoes/", {"year": 2026})


# -- values


class Color(enum.Enum):
    RED = "red"


class Size(models.TextChoices):
    SMALL = "s", "Small"


class Level(models.IntegerChoices):
    LOW = 1, "Low"


@dataclass(frozen=True)
class Phone:
    number: str


class OpaqueField(serializers.Field):  # type: ignore[type-arg]  # the test chooses the type
    """Converts a client's text into a Python value, and the value into a text."""

    value: Any = None

    def to_internal_value(self, data: Any) -> Any:
        return self.value

    def to_representation(self, value: Any) -> Any:
        return f"text of {type(value).__name__}"


#: Value, and the job's input.
VALUES: list[tuple[Any, Any]] = [
    (Color.RED, "text of Color"),
    (Size.SMALL, "s"),
    (Level.LOW, 1),
    (ZoneInfo("Europe/Berlin"), "text of ZoneInfo"),
    (Phone("+49 30"), "text of Phone"),
    (ipaddress.ip_address("127.0.0.1"), "text of IPv4Address"),
    (PurePosixPath("/x"), "text of PurePosixPath"),
    (b"raw", "text of bytes"),
    (memoryview(b"raw"), "text of memoryview"),
    (range(3), "text of range"),
    (complex(1, 2), "text of complex"),
    (Decimal("1.50"), "1.50"),
    (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
    (dt.date(2026, 11, 28), "2026-11-28"),
    (dt.time(10, 30), "10:30:00"),
    (dt.timedelta(hours=1), "P0DT01H00M00S"),
    (gettext_lazy("Name"), "Name"),
    (frozenset({"a"}), ["a"]),
    (("a", 1), ["a", 1]),
    (("a", Color.RED), "text of tuple"),
    ({"a": {"b": Color.RED}}, "text of dict"),
    (None, None),
]


def shapes() -> dict[str, tuple[Any, Callable[[Any], Any], Callable[[Any], Any]]]:
    """Shape -> a field that contains an opaque one; functions that send and find the value."""

    class Nested(serializers.Serializer[Any]):
        renamed = OpaqueField(source="inner")

    return {
        "alone": (OpaqueField(), lambda x: x, lambda x: x),
        "list": (serializers.ListField(child=OpaqueField()), lambda x: [x], lambda x: x[0]),
        "dict": (
            serializers.DictField(child=OpaqueField()),
            lambda x: {"k": x},
            lambda x: x["k"],
        ),
        "nested": (Nested(), lambda x: {"renamed": x}, lambda x: x["inner"]),
        "many": (Nested(many=True), lambda x: [{"renamed": x}], lambda x: x[0]["inner"]),
    }


@pytest.mark.parametrize("shape", shapes())
@pytest.mark.parametrize(
    ("value", "expected"), VALUES, ids=[type(value).__name__ for value, _ in VALUES]
)
def test_value__is_represented_by_its_field(
    api: APIClient,
    view: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    shape: str,
    value: Any,
    expected: Any,
) -> None:
    field, send, find = shapes()[shape]
    monkeypatch.setattr(OpaqueField, "value", value)
    view(type("Body", (serializers.Serializer,), {"value": field}))
    answer = api.post("/echoes/", {"value": send("x")})
    assert answer.status_code == 202, answer.content
    assert find(Operation.objects.get().input["value"]) == expected


def test_value__row_becomes_its_primary_key(
    api: APIClient, view: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    group = Group.objects.create(name="x")
    view(type("Body", (serializers.Serializer,), {"value": OpaqueField()}))
    for value, expected in ((group, group.pk), (Group.objects.all(), [group.pk])):
        monkeypatch.setattr(OpaqueField, "value", value)
        answer = api.post("/echoes/", {"value": "x"})
        assert Operation.objects.get(pk=answer.json()["id"]).input == {"value": expected}


class Unconverted(OpaqueField):
    def to_representation(self, value: Any) -> Any:
        return value


def test_value__without_a_json_type_is_500_and_logged(
    settings: Settings,
    user: Any,
    view: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log names the value's key and type, and the remedy."""
    settings.ROOT_URLCONF = urls
    monkeypatch.setattr(OpaqueField, "value", Phone("+49 30"))
    view(type("Body", (serializers.Serializer,), {"value": Unconverted()}))
    client = APIClient(raise_request_exception=False)
    client.force_authenticate(user)
    assert client.post("/echoes/", {"value": "x"}).status_code == 500
    assert not Operation.objects.exists()
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert "'value' is of type Phone" in str(record.exc_info[1])
    assert "get_input()" in str(record.exc_info[1])


class MessagePackParser(BaseParser):
    """Hands over the value of the test, as a parser for another format than JSON may make it."""

    media_type = "application/msgpack"
    value: Any = None

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        return {"value": self.value}


class Free(serializers.Serializer[Any]):
    value = serializers.DictField()


class Timestamp:
    """A type of MessagePack's."""

    def __repr__(self) -> str:
        return "Timestamp(1)"


PARSED = [{"a", "b"}, Timestamp(), dt.time(3, tzinfo=dt.UTC), b"\xff", 16**5000, {1: {b"k"}}]


@pytest.mark.parametrize("value", PARSED, ids=lambda value: type(value).__name__)
def test_key__compares_values_that_json_has_no_type_for(
    value: Any, api: APIClient, view: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    view(Everything)
    monkeypatch.setattr(EchoView, "parser_classes", [MessagePackParser])
    monkeypatch.setattr(EchoView, "get_input", lambda self, serializer: {})
    statuses = []
    for sent in (value, value, "another"):
        monkeypatch.setattr(MessagePackParser, "value", sent)
        answer = api.post(
            "/echoes/",
            b"x",
            content_type=MessagePackParser.media_type,
            headers={"Idempotency-Key": "k"},
        )
        statuses.append((answer.status_code, answer.get("Idempotent-Replayed")))
    assert statuses == [(202, None), (202, "true"), (422, None)]


@pytest.mark.parametrize("value", PARSED, ids=lambda value: type(value).__name__)
def test_body__of_types_that_json_lacks_is_stored_or_refused(
    value: Any, api: APIClient, view: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    view(Free)
    monkeypatch.setattr(EchoView, "parser_classes", [MessagePackParser])
    monkeypatch.setattr(MessagePackParser, "value", {"inner": value})
    answer = api.post("/echoes/", b"x", content_type=MessagePackParser.media_type)
    assert answer.status_code in (202, 400)
    assert answer["Content-Type"] in ("application/json", PROBLEM)


BODY = b'{"value": 7}'
LOST = {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}
ENDS = {"wsgi.input_terminated": True}


@pytest.mark.parametrize(
    ("body", "fields", "status"),
    [
        (BODY, {}, 202),
        (BODY, {**LOST, **ENDS}, 411),
        # A server that does not say whether the body has an end.
        (BODY, LOST, 411),
        (b"", {**LOST, **ENDS}, 202),
        (b"", {}, 202),
    ],
)
@pytest.mark.parametrize("url", ["/echoes/", "/mixed/"])
def test_body__of_unknown_length_is_411(
    url: str, body: bytes, fields: dict[str, Any], status: int, api: APIClient, settings: Settings
) -> None:
    class Mixed(LongRunningOperationMixin):
        def post(self, request: Request) -> Any:
            return self.submit(request, take_all, {})

    settings.ROOT_URLCONF = type(
        "Module", (), {"urlpatterns": [*urls.urlpatterns, path("mixed/", Mixed.as_view())]}
    )
    if fields:
        fields = {**fields, "wsgi.input": BytesIO(body)}
    answer = api.generic("POST", url, body.decode(), content_type="application/json", **fields)
    assert answer.status_code == status
    assert Operation.objects.count() == (status == 202)


@pytest.mark.parametrize(("body", "is_refused"), [(BODY, True), (b"", False)])
def test_body__of_http_2_without_a_length_is_411(body: bytes, is_refused: bool) -> None:
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b""}
    request = Request(ASGIRequest(scope, BytesIO(body)))
    with pytest.raises(LengthRequired) if is_refused else nullcontext():
        check_length(request)


@pytest.mark.parametrize("body", [BODY, b""])
def test_length__check_leaves_the_body_to_be_read(body: bytes) -> None:
    """Middleware of the project may read it afterwards."""
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b""}
    sent = ASGIRequest(scope, BytesIO(body))
    with suppress(LengthRequired):
        check_length(Request(sent))
    assert sent.body == body


def test_length__of_a_request_without_a_stream() -> None:
    """Code that calls a view by itself may have made the request."""
    check_length(Request(HttpRequest()))


def test_length__of_no_body_in_an_async_test(user: Any) -> None:
    client = AsyncClient()
    client.force_login(user)
    answer = async_to_sync(client.post)("/echoes/", content_type="application/json")
    assert answer.status_code == 202
