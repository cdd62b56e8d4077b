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


@pytest.mark.parametrize("kinds_in_a_statement", [1, 50])
def test_unserved__kind_behind_a_long_backlog(
    monkeypatch: pytest.MonkeyPatch, kinds_in_a_statement: int
) -> None:
    monkeypatch.setattr(queues, "MAX_ROWS", 3)
    monkeypatch.setattr(queues, "KINDS_IN_A_STATEMENT", kinds_in_a_statement)
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
    monkeypatch.setattr(routing, "kinds", lambda: [echo.name, persist.name])
    for _ in range(9):
        waiting()
    with django_assert_max_num_queries(2):
        rows = queues.oldest(Operation.objects.due(), "kind")
        assert [row.kind for row in rows] == [echo.name] * 3


def test_oldest__reads_all_kinds_of_a_long_backlog_by_one_statement(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    monkeypatch.setattr(queues, "MAX_ROWS", 1)
    monkeypatch.setattr(routing, "kinds", lambda: [echo.name, persist.name])
    pks = {services.submit(task).pk for task in (echo, persist, echo)}
    with django_assert_num_queries(2):
        rows = queues.oldest(Operation.objects.due(), "kind", "published_at")
        assert {(row.pk, row.published_at is None) for row in rows} == {(pk, False) for pk in pks}


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


def test_served__worker_is_not_idle_because_of_another_one_of_its_name() -> None:
    """Nobody knows which of both runs the job. A busy worker may hold a message."""
    for queue in ("celery", "slow"):
        Presence(name="w", concurrency=1, queues=[queue]).report()
    assert lifecycle.claim(services.submit(echo), worker="w/7-token")
    assert queues.served() == {"celery": False, "slow": False}


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [row.getMessage() for row in caplog.records if row.levelname == "WARNING"]


def test_warn_of_unserved__names_queue_and_remedy_once(caplog: pytest.LogCaptureFixture) -> None:
    waiting(queue="reports")
    for _ in range(5):
        assert queues.warn_of_unserved() == 0
    [text] = warnings(caplog)
    assert "-Q reports" in text


def test_warn_of_unserved__not_of_workers_that_restart(caplog: pytest.LogCaptureFixture) -> None:
    """For a moment the old worker has no row any more, and the new worker none yet."""
    waiting()
    queues.warn_of_unserved()
    worker = Presence(name="w1", concurrency=1, queues=["celery"])
    worker.report()
    queues.warn_of_unserved()
    worker.delete()
    queues.warn_of_unserved()
    assert warnings(caplog) == []
    queues.warn_of_unserved()
    assert len(warnings(caplog)) == 1


def test_warn_of_unserved__again_after_a_worker_read_it(caplog: pytest.LogCaptureFixture) -> None:
    waiting()
    worker = Presence(name="w1", concurrency=1, queues=["celery"])
    for _ in range(2):
        queues.warn_of_unserved()
        queues.warn_of_unserved()
        worker.report()
        queues.warn_of_unserved()
        worker.delete()
    assert len(warnings(caplog)) == 2
    assert caplog.text.count("No operation waits in queue celery without a worker") == 2


def test_check__names_queue_and_remedy() -> None:
    waiting(queue="reports")
    messages = checks.run_checks(tags=["async_reply"], databases=["default"])
    [message] = [message for message in messages if message.id == "async_reply.W110"]
    assert "reports" in message.msg
    assert "-Q reports" in (message.hint or "")
    messages = checks.run_checks(tags=["async_reply"], databases=[])
    assert "async_reply.W110" not in {message.id for message in messages}
