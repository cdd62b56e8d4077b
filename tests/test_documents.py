"""What an operation's document is made of."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient
from rest_framework.versioning import AcceptHeaderVersioning
from rest_framework.views import APIView

from async_reply.models import Operation
from async_reply.status import Status

pytestmark = pytest.mark.django_db

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z")


def test_status__has_exactly_these_words() -> None:
    assert {status.value for status in Status} == {
        *("pending", "running", "canceling", "succeeded", "failed", "canceled")
    }


@pytest.mark.parametrize(
    "configured",
    [
        {},
        {"TIME_ZONE": "Asia/Kolkata"},
        {"TIME_ZONE": "Asia/Kolkata", "USE_TZ": False},
        {"REST_FRAMEWORK": {"DATETIME_FORMAT": "%d/%m/%Y"}},
        {"REST_FRAMEWORK": {"DATETIME_FORMAT": None}},
    ],
    ids=str,
)
def test_times__are_utc_whatever_the_project_prefers(
    api: APIClient, settings: Settings, succeeded: Operation, configured: dict[str, Any]
) -> None:
    started = succeeded.created_at
    assert started is not None
    for name, value in configured.items():
        own = {**settings.REST_FRAMEWORK, **value} if isinstance(value, dict) else value
        setattr(settings, name, own)
    with timezone.override(ZoneInfo("America/New_York")):
        found = api.get(f"/api/operations/{succeeded.pk}/monitor/").json()
    for name in ("created_at", "started_at", "updated_at", "finished_at", "expires_at"):
        assert TIME.fullmatch(found[name])
    if configured.get("USE_TZ", True):
        assert datetime.fromisoformat(found["created_at"]) == started.astimezone(UTC)


def test_times__of_a_receipt_repeat_themselves_in_any_time_zone(api: APIClient) -> None:
    key = {"Idempotency-Key": "k"}
    first = api.post("/echoes/", {}, headers=key)
    with timezone.override(ZoneInfo("Asia/Kolkata")):
        again = api.post("/echoes/", {}, headers=key)
    assert again.content == first.content


@pytest.mark.parametrize("accept", ["text/event-stream", "application/json; version=9", "*/*"])
@pytest.mark.parametrize("end", ["", "monitor/", "result/", "events/"])
def test_version__that_accept_does_not_name_is_no_406(
    api: APIClient,
    submit: Callable[..., Operation],
    monkeypatch: pytest.MonkeyPatch,
    accept: str,
    end: str,
) -> None:
    """A project may insist on one; an EventSource and most pollers cannot name it."""
    monkeypatch.setattr(APIView, "versioning_class", AcceptHeaderVersioning)
    monkeypatch.setattr(AcceptHeaderVersioning, "allowed_versions", ["1"])
    assert api.post("/echoes/", {}, headers={"Accept": accept}).status_code == 406
    response = api.get(f"/api/operations/{submit().pk}/{end}", headers={"Accept": accept})
    assert response.status_code in {200, 202}
    assert b"".join(response)


def test_times__of_a_project_without_time_zones(api: APIClient, settings: Settings) -> None:
    """Only PostgreSQL tells its own times in the project's: see the check W122."""
    zone = "Asia/Kolkata" if connection.vendor == "postgresql" else "UTC"
    settings.TIME_ZONE, settings.USE_TZ = zone, False
    with timezone.override(ZoneInfo("America/New_York")):
        told = api.post("/echoes/", {}).json()["created_at"]
    assert TIME.fullmatch(told)
    assert abs(datetime.now(UTC) - datetime.fromisoformat(told)).total_seconds() < 60
