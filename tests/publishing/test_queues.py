from datetime import timedelta
from typing import Any

import pytest
from django.core import checks
from django.db import models
from django.utils import timezone

from async_reply import lifecycle, services
from async_reply.models import Operation, Worker
from async_reply.publishing import queues, routing
from async_reply.worker.presence import Presence
from tests.project.tasks import echo, persist
from tests.publishing.brokers import route

pytestmark = pytest.mark.django_db


def waiting(**changes: Any) -> None:
    operation = services.submit(echo)
    long_ago = timezone.now() - timedelta(minutes=5)
    changes = {"published_at": long_ago, "available_at": long_ago, **changes}
    Operation.objects.filter(pk=operation.pk).update(**changes)


def test_unserved__queue_without_a_worker() -> None:
    waiting(queue="reports")
    waiting()
    assert queues.unserved() == ["celery", "reports"]
    Presence(name="w1", concurrency=1, queues=["celery"]).report()
    assert queues.unserved() == ["reports"]
    Presence(name="w2", concurrency=1, queues=["reports", "celery"]).report()
    assert queues.unserved() == []


def test_unserved__dead_worker_does_not_count() -> None:
    waiting()
    Presence(name="w1", concurrency=1, queues=["celery"]).report()
    Worker.objects.update(seen_at=models.F("seen_at") - timedelta(minutes=5))
    assert queues.unserved() == ["celery"]


def test_unserved__before_a_minute_is_over() -> None:
    waiting(available_at=timezone.now())
    waiting(available_at=timezone.now() + timedelta(minutes=5))
    assert queues.unserved() == []


@pytest.mark.parametrize("published_at", [None, timezone.now()])
def test_unserved__after_more_publishes(published_at: Any) -> None:
    """The time since an operation is due counts. A publish does not change that time."""
    waiting(published_at=published_at, publishes=9)
    assert queues.unserved() == ["celery"]


def test_unserved__kind_behind_a_long_backlog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "MAX_ROWS", 3)
    for _ in range(5):
        waiting()
    Operation.objects.filter(pk=services.submit(persist).pk).update(
        queue="reports", available_at=timezone.now() - timedelta(minutes=2)
    )
    assert queues.unserved() == ["celery", "reports"]


def test_oldest__reads_a_part_of_a_long_backlog(
    monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    monkeypatch.setattr(queues, "MAX_ROWS", 3)
    monkeypatch.setattr(queues, "MAX_ROWS_OF_KIND", 2)
    for _ in range(9):
        waiting()
    with django_assert_max_num_queries(1 + len(routing.kinds()) + 1):
        assert len(queues.oldest(Operation.objects.due(), "kind")) == 3


def test_unserved__kind_without_a_known_queue_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    route(monkeypatch, [{echo.name: {"exchange": "reports", "routing_key": "pdf"}}])
    waiting()
    assert queues.unserved() == []


def test_served__says_whether_a_process_is_idle() -> None:
    Presence(name="w1", concurrency=2, queues=["celery", "slow"]).report()
    Presence(name="w2", concurrency=1, queues=["slow"]).report()
    for process in ("w1/1", "w1/2"):
        assert lifecycle.claim(services.submit(echo), worker=process)
    assert queues.served() == {"celery": False, "slow": True}


def test_served__adds_up_workers_of_one_name() -> None:
    for _ in range(2):
        Presence(name="w", concurrency=1, queues=["celery"]).report()
    assert lifecycle.claim(services.submit(echo), worker="w/7-token")
    assert queues.served() == {"celery": True}
    assert lifecycle.claim(services.submit(echo), worker="w/7-other")
    assert queues.served() == {"celery": False}


def test_warn_of_unserved__names_queue_and_remedy(caplog: pytest.LogCaptureFixture) -> None:
    waiting(queue="reports")
    assert queues.warn_of_unserved() == 0
    assert "-Q reports" in caplog.text


def test_check__names_queue_and_remedy() -> None:
    waiting(queue="reports")
    messages = checks.run_checks(tags=["async_reply"], databases=["default"])
    [message] = [message for message in messages if message.id == "async_reply.W110"]
    assert "reports" in message.msg
    assert "-Q reports" in (message.hint or "")
    messages = checks.run_checks(tags=["async_reply"], databases=[])
    assert "async_reply.W110" not in {message.id for message in messages}
