"""Checks of the broker's URL and of the format of messages."""

from typing import Any

import pytest
from django.core.checks import run_checks

from tests.checks.messages import ids
from tests.conftest import configure_celery


def configure_urls(monkeypatch: pytest.MonkeyPatch, urls: Any) -> None:
    """Let Celery read the transport from the URL. The demo's settings name a transport."""
    configure_celery(monkeypatch, broker_transport=None, broker_url=urls)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis//localhost", "no scheme"),
        ("localhost:6379", "no scheme"),
        ("redis:/localhost", "no scheme"),
        ("redis://localhost:port/0", "host or port"),
        ("redis://localhost:99999/0", "host or port"),
        ("redis://:pa#ss@localhost:6379/0", "like # or /"),
        ("amqp://guest:pa/ss@localhost//", "like # or /"),
        ("redis://[::1/0", "host or port"),
        ("redis://localhost/zero", "no number"),
        ("amqp://a//;amqp://b:b//", "host or port"),
        (["redis://a/0", "redis://b:b/0"], "host or port"),
    ],
)
def test_broker__url_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, url: Any, problem: str
) -> None:
    configure_urls(monkeypatch, url)
    [message] = run_checks(tags=["async_reply"], databases=[])
    assert message.id == "async_reply.E007"
    assert problem in message.msg
    # It is printed to logs, and a URL may hold a password.
    assert not {"ss@", "//", "localhost"} & {message.msg, *message.msg.split()}
    assert "ss@" not in message.msg


@pytest.mark.parametrize(
    "url",
    [
        *("redis://localhost", "redis://:pa%23ss@localhost:6379/0", "rediss://[::1]:6379/1"),
        *("amqp://guest@localhost:5672/my%20host", "pyamqp://a//;pyamqp://b//", "memory://"),
        *("redis+socket:///tmp/redis", "filesystem://", "redis://localhost/0?ssl_cert_reqs=none"),
    ],
)
def test_broker__url_that_celery_reads(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    configure_urls(monkeypatch, url)
    assert ids() == []


def test_broker__host_beside_a_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_celery(monkeypatch, broker_transport="memory", broker_url="localhost")
    assert ids() == []


def test_broker__transport_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_celery(monkeypatch, broker_transport="demo_project.nowhere:Transport")
    assert ids() == ["async_reply.E002"]


@pytest.mark.parametrize(
    "accepted", [["json", "pickle"], ["json", "application/x-python-serialize"], None]
)
def test_broker__that_accepts_pickle(
    monkeypatch: pytest.MonkeyPatch, accepted: list[str] | None
) -> None:
    configure_celery(monkeypatch, accept_content=accepted)
    [message] = run_checks(tags=["async_reply"], databases=[])
    assert message.id == "async_reply.E003"
    assert 'CELERY_TASK_SERIALIZER = "json"' in str(message.hint)


@pytest.mark.parametrize(
    ("written", "read", "expected"),
    [
        ("json", ["application/json"], []),
        ("application/json", ["json"], []),
        ("yaml", ["json"], ["async_reply.E006"]),
        ("pickle", ["json"], ["async_reply.E006"]),
        ("json", ["yaml"], ["async_reply.E006"]),
        ("papyrus", ["json"], ["async_reply.E006"]),
    ],
)
def test_broker__format_that_workers_do_not_read(
    monkeypatch: pytest.MonkeyPatch, written: str, read: list[str], expected: list[str]
) -> None:
    configure_celery(monkeypatch, task_serializer=written)
    configure_celery(monkeypatch, accept_content=read)
    assert ids() == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"task_always_eager": True}, "async_reply.W119"),
        ({"broker_url": "memory://"}, "async_reply.W129"),
        ({"broker_url": "redis://memory:6379"}, ""),
        ({"task_always_eager": False}, ""),
    ],
)
def test_deployment__runs_jobs_in_workers(
    settings: dict[str, Any], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = {"async_reply.W119", "async_reply.W129"}
    configure_celery(monkeypatch, **{"broker_url": "redis://localhost", **settings})
    deployed = set(ids(include_deployment_checks=True))
    assert deployed & numbers == ({expected} if expected else set())
    assert not set(ids()) & numbers
