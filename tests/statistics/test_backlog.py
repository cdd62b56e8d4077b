from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from async_reply import lifecycle, services
from async_reply.models import Operation
from async_reply.statistics import backlog
from tests.project.tasks import echo
from tests.publishing.brokers import read_by

pytestmark = pytest.mark.django_db


def waiting(*, seconds: float = 0, **changes: Any) -> Operation:
    operation = services.submit(echo)
    # SQLite's clock has milliseconds alone, and would find this process's time not yet past.
    due_at = timezone.now() - timedelta(seconds=seconds, milliseconds=2)
    changes = {"available_at": due_at, "published_at": due_at, **changes}
    Operation.objects.filter(pk=operation.pk).update(**changes)
    operation.refresh_from_db()
    return operation


def test_read__counts_what_waits_and_runs_in_each_queue(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    waiting(seconds=10)
    waiting(seconds=300, published_at=None)
    waiting(seconds=-300)
    waiting(seconds=20, queue="reports")
    assert lifecycle.claim(waiting(queue="reports"), worker="w1/1")
    read_by("celery", "empty", concurrency=4)
    with django_assert_num_queries(3):
        state = backlog.read()
    celery, empty, reports = state.queues.values()
    assert [celery.name, empty.name, reports.name] == ["celery", "empty", "reports"]
    assert (celery.waiting, celery.running, celery.capacity) == (2, 0, 4)
    assert (reports.waiting, reports.running, reports.is_served) == (1, 1, False)
    assert (empty.waiting, empty.oldest_seconds, empty.is_served) == (0, 0, True)
    assert celery.oldest_seconds == pytest.approx(300, abs=30)
    assert reports.oldest_seconds == pytest.approx(20, abs=15)
    assert (state.waiting, state.running, state.is_exact) == (3, 1, True)
    assert state.workers == 1


def test_read__of_a_long_backlog_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "ROWS_COUNTED", 3)
    for _ in range(4):
        waiting()
    state = backlog.read()
    assert (state.waiting, state.is_exact) == (3, False)


def test_read__counts_what_is_released_again_and_again() -> None:
    """Of operations that wait and of those that run, by the same statements."""
    waiting(seconds=5, idle_releases=2)
    waiting(seconds=5, idle_releases=3)
    waiting(seconds=-50, idle_releases=3)
    for _ in range(2):
        assert lifecycle.claim(waiting(seconds=5, idle_releases=4), worker="w1/1")
    assert backlog.read().idle == 3


def test_read__of_many_running_operations_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "ROWS_COUNTED", 2)
    for _ in range(3):
        assert lifecycle.claim(waiting(seconds=5), worker="w1/1")
    assert backlog.read().running == 2


def test_read__without_operations() -> None:
    assert backlog.read() == backlog.Backlog({}, is_exact=True)


def test_unpublished__counts_what_is_due_and_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert backlog.unpublished() == backlog.Unpublished(0, 0.0, is_exact=True)
    waiting(seconds=50)
    waiting(seconds=-50, published_at=None)
    for seconds in (30, 90):
        waiting(seconds=seconds, published_at=None)
    state = backlog.unpublished()
    assert (state.count, state.is_exact) == (2, True)
    assert state.oldest_seconds == pytest.approx(90, abs=30)
    monkeypatch.setattr(backlog, "ROWS_COUNTED", 1)
    assert not backlog.unpublished().is_exact
