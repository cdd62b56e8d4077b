"""Brokers that tests of the relay talk to."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from async_reply import relay
from async_reply.models import Operation
from tests.conftest import configure_celery

#: Before any fixture takes its place.
send = relay._send


def long_ago(**changes: Any) -> None:
    Operation.objects.update(published_at=timezone.now() - timedelta(minutes=1), **changes)


def use_redis(monkeypatch: pytest.MonkeyPatch, *, port: int = 6379) -> None:
    pytest.importorskip("redis", reason="needs the extra redis")
    configure_celery(monkeypatch, broker_transport=None)
    configure_celery(monkeypatch, broker_transport_options={})
    configure_celery(monkeypatch, broker_write_url=f"redis://127.0.0.1:{port}/11")


def use_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_celery(monkeypatch, broker_transport=None)
    configure_celery(monkeypatch, broker_transport_options={})
    configure_celery(monkeypatch, broker_write_url="memory://")
