"""The operation's document: statuses, times and versions of the API."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient
from rest_framework.versioning import AcceptHeaderVersioning
from rest_framework.views import APIView

from async_reply import documents
from async_reply.models import Operation
from async_reply.protocol import valet_keys
from async_reply.status import Status

pytestmark = pytest.mark.django_db

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z")


def test_status__is_one_of_these_words() -> None:
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
def test_times__are_utc_with_any_settings_of_the_project(
    api: APIClient, settings: Settings, succeeded: Operation, configured: dict[str, Any]
) -> None:
    created_at = succeeded.created_at
    assert created_at is not None
    for name, value in configured.items():
        merged = {**settings.REST_FRAMEWORK, **value} if isinstance(value, dict) else value
        setattr(settings, name, merged)
    with timezone.override(ZoneInfo("America/New_York")):
        document = api.get(f"/api/operations/{succeeded.pk}/monitor/").json()
    for name in ("created_at", "started_at", "updated_at", "finished_at", "expires_at"):
        assert TIME.fullmatch(document[name])
    if configured.get("USE_TZ", True):
        assert datetime.fromisoformat(document["created_at"]) == created_at.astimezone(UTC)


def test_times__of_a_replayed_receipt_are_equal_in_any_time_zone(api: APIClient) -> None:
    key = {"Idempotency-Key": "k"}
    first = api.post("/echoes/", {}, headers=key)
    with timezone.override(ZoneInfo("Asia/Kolkata")):
        again = api.post("/echoes/", {}, headers=key)
    assert again.content == first.content


@pytest.mark.parametrize("accept", ["text/event-stream", "application/json; version=9", "*/*"])
@pytest.mark.parametrize("end", ["", "monitor/", "result/", "events/"])
def test_version__missing_in_accept_is_no_406(
    api: APIClient,
    submit: Callable[..., Operation],
    monkeypatch: pytest.MonkeyPatch,
    accept: str,
    end: str,
) -> None:
    """A project may require a version. An EventSource and most pollers cannot name one."""
    monkeypatch.setattr(APIView, "versioning_class", AcceptHeaderVersioning)
    monkeypatch.setattr(AcceptHeaderVersioning, "allowed_versions", ["1"])
    assert api.post("/echoes/", {}, headers={"Accept": accept}).status_code == 406
    response = api.get(f"/api/operations/{submit().pk}/{end}", headers={"Accept": accept})
    assert response.status_code in {200, 202}
    assert b"".join(response)


def test_times__of_a_project_without_time_zones(api: APIClient, settings: Settings) -> None:
    """Without USE_TZ only PostgreSQL works in a time zone other than UTC: see the check W122."""
    zone = "Asia/Kolkata" if connection.vendor == "postgresql" else "UTC"
    settings.TIME_ZONE, settings.USE_TZ = zone, False
    with timezone.override(ZoneInfo("America/New_York")):
        text = api.post("/echoes/", {}).json()["created_at"]
    assert TIME.fullmatch(text)
    assert abs(datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds() < 60


LINKS = {"self", "monitor", "result", "events", "log"}


def test_links_at__are_those_that_a_request_gets(api: APIClient, running: Operation) -> None:
    shown = api.get(f"/api/operations/{running.pk}/monitor/").json()["links"]
    assert documents.links_at(running, "http://testserver/") == shown
    links = documents.links_at(running, "https://example.org/prefix")
    assert links["self"] == f"https://example.org/prefix/api/operations/{running.pk}/"


def test_links_at__ignore_the_version_of_a_view_with_a_scheme_of_its_own(
    running: Operation,
) -> None:
    plain = documents.links_at(running, "https://example.org")
    assert documents.links_at(running, "https://example.org", version="v1") == plain


@pytest.mark.parametrize("scope", ["read", "cancel"])
def test_links_at__with_a_key_open_the_operation_to_whoever_has_them(
    client_of: Callable[..., APIClient], running: Operation, scope: valet_keys.Scope
) -> None:
    links = documents.links_at(running, "http://testserver", scope=scope)
    stranger = client_of()
    assert stranger.get(links["monitor"]).status_code == 200
    # With a key that only reads, the owner cancels by credentials.
    assert stranger.post(links["cancel"]).status_code == (202 if scope == "cancel" else 401)


@pytest.mark.parametrize(
    ("seconds", "kept", "expected"), [(None, None, 86400), (60, None, 60), (7 * 86400, 3600, 3600)]
)
def test_links_at__key_is_good_for_the_time_asked_and_never_longer_than_the_operation(
    succeeded: Operation, seconds: float | None, kept: float | None, expected: float
) -> None:
    lifetime = timedelta(seconds=kept or 30 * 86400)
    succeeded.expires_at = timezone.now() + lifetime
    links = documents.links_at(succeeded, "http://testserver", scope="read", seconds=seconds)
    assert set(links) == LINKS
    [key] = parse_qs(urlsplit(links["result"]).query)["sig"]
    left = valet_keys.expiry(key) - timezone.now().timestamp()
    assert left == pytest.approx(expected, abs=60)


def test_links_at__of_a_view_that_signs_its_links_are_signed(running: Operation) -> None:
    assert "sig=" not in documents.links_at(running, "https://example.org")["self"]
    running.reply = {"valet_key": "read"}
    assert "?sig=read." in documents.links_at(running, "https://example.org")["self"]


@pytest.mark.parametrize(
    "base_url", ["example.org", "//example.org", "ftp://example.org", "https://", "http://a/?b"]
)
def test_links_at__refuses_what_is_no_base_url(running: Operation, base_url: str) -> None:
    with pytest.raises(ValueError, match=r"https://example\.org"):
        documents.links_at(running, base_url)


def test_links_at__have_the_version_of_the_api(running: Operation, settings: Settings) -> None:
    scheme = "rest_framework.versioning.QueryParameterVersioning"
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "DEFAULT_VERSIONING_CLASS": scheme}
    link = documents.links_at(running, "https://example.org", version="v2")["self"]
    assert link == f"https://example.org/api/operations/{running.pk}/?version=v2"
