"""Malformed header fields and query strings do no harm."""

import logging
from typing import Any

import pytest
from pytest_django import Settings
from rest_framework.test import APIClient

from async_reply import services
from async_reply.models import Operation
from async_reply.status import Status
from async_reply.testing import run_operations
from tests.project import tasks

pytestmark = pytest.mark.django_db

#: Fields that our views, Django or REST framework read.
FIELDS = [
    "Accept",
    "Accept-Language",
    "Content-Type",
    "Cookie",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "If-Range",
    "Last-Event-ID",
    "Origin",
    "Prefer",
    "Range",
    "Repeatability-Request-ID",
    "Traceparent",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-HTTP-Method-Override",
]

VALUES = {
    "line break": "a\r\nSet-Cookie: stolen=1",
    "nul": "a\x00b",
    "latin-1": "\xe9\xff",
    "as utf-8": "\u202egnp".encode().decode("latin-1"),
    "very long": "a" * 100_000,
    "many parts": "a=1;b=2," * 10_000,
    "quotes": '"' * 9_999,
    "backslashes": '"' + "\\" * 9_999,
    "wait": "wait=99999999999999999999999999, wait=-1, wait=NaN",
    "negative": "-1",
    "ranges": "bytes=" + ",".join(f"{n}-{n}" for n in range(2_000)),
    "huge range": "bytes=0-" + "9" * 5_000,
    "tags": 'W/"1", ' * 5_000,
    "html": "<script>alert(1)</script>",
    "format": "${jndi:ldap://x} %s %(x)s {0} {x.__class__}",
    "odd media type": "a/b;q=x;q=0.5;version=\xff, */*;q=nan, text/html;q=1e999",
}


HTML = "text/html; charset=utf-8"


def read(response: Any) -> bytes:
    """The body. A stream is closed after it was read to its end."""
    content: bytes = b"".join(response) if response.streaming else response.content
    return content


def assert_harmless(response: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It is no error of ours, and no text of the request becomes a header or a line of the log."""
    content = read(response)
    assert response.status_code < 500, content[:300]
    assert b"Traceback (most" not in content
    for name, value in response.items():
        assert not set(name + value) & set("\r\n\x00"), name
    assert "Set-Cookie" not in response
    if response.status_code >= 400:
        assert response["Content-Type"] in {"application/problem+json", HTML}
    for record in caplog.records:
        assert record.levelno < logging.ERROR, record.getMessage()
        assert record.getMessage().isprintable(), record.getMessage()


@pytest.fixture
def conversation(api: APIClient, victim: Any) -> list[tuple[str, str]]:
    """Requests to each kind of URL whose view reads header fields."""
    waiting = services.submit(tasks.echo, owner=str(victim.pk))
    value, file = (
        services.submit(task, owner=str(victim.pk)) for task in (tasks.echo, tasks.export)
    )
    Operation.objects.filter(pk=waiting.pk).update(status=Status.RUNNING)
    run_operations()
    base = "/api/operations/"
    return [
        ("POST", "/echoes/"),
        ("GET", base),
        *[
            ("GET", f"{base}{operation.pk}/{end}")
            for operation in (waiting, value)
            for end in ("", "result/")
        ],
        ("GET", f"{base}{waiting.pk}/monitor/"),
        ("GET", f"{base}{waiting.pk}/events/"),
        ("GET", f"{base}{waiting.pk}/log/"),
        ("GET", f"{base}{file.pk}/result/"),
        ("HEAD", f"{base}{file.pk}/result/"),
        ("OPTIONS", f"{base}{value.pk}/"),
        ("POST", f"{base}{waiting.pk}/cancel/"),
    ]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("field", FIELDS)
def test_field__malformed_is_harmless(
    api: APIClient,
    settings: Settings,
    conversation: list[tuple[str, str]],
    caplog: pytest.LogCaptureFixture,
    field: str,
    value: str,
) -> None:
    settings.DEBUG = False
    caplog.clear()
    for method, url in conversation:
        if field == "Content-Type":
            response = api.generic(method, url, "{}", content_type=VALUES[value])
        else:
            headers = {field: VALUES[value]}
            response = api.generic(method, url, "{}", "application/json", headers=headers)
        assert_harmless(response, caplog)


QUERIES = [
    "format=xml",
    "format=api%00",
    "format=%0d%0aSet-Cookie:%20x=1",
    "sig=%0d%0aX:%20y",
    "sig=a&sig=b",
    "sig=" + "a" * 50_000,
    "cursor=%00",
    "cursor=" + "a" * 50_000,
    "page_size=-1&cursor=cD0lMDA%3D",
    "page_size=" + "9" * 5_000,
    "status=pending&status=running",
    "kind=%00",
    "kind=%F0%9F%92%A9%ff",
    "created_after=9999-99-99",
    "created_after=0001-01-01T00:00:00%2B23:59",
    "created_before=9999-12-31T23:59:59-23:59",
    "&".join(f"a{n}=1" for n in range(5_000)),
    "%",
    "%ff=%fe",
    "version=%00",
]


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query[:40])
def test_query__malformed_is_harmless(
    api: APIClient,
    settings: Settings,
    conversation: list[tuple[str, str]],
    caplog: pytest.LogCaptureFixture,
    query: str,
) -> None:
    settings.DEBUG = False
    caplog.clear()
    for method, url in conversation:
        response = api.generic(method, f"{url}?{query}", "{}", "application/json")
        assert_harmless(response, caplog)


@pytest.mark.parametrize("query", ["format=xml", "format=csv"])
def test_query__unknown_format_is_no_404(
    api: APIClient, conversation: list[tuple[str, str]], query: str
) -> None:
    """Otherwise a client that polls would believe that its operation is lost."""
    for method, url in conversation:
        if "operations/" in url:
            response = api.generic(method, f"{url}?{query}")
            read(response)
            assert response.status_code < 400, (method, url)
