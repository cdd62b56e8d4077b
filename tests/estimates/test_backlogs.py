"""The position of a pending operation: operations ahead, their durations, workers of the queue."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from async_reply import lifecycle, services
from async_reply.estimates import backlogs, histories
from async_reply.models import Operation, Worker
from tests.project.tasks import echo, persist

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlogs, "REFRESH_SECONDS", 0)


def submit(count: int, *, task: Any = echo, queue: str = "") -> list[Operation]:
    keys = [services.submit(task).pk for _ in range(count)]
    operations = Operation.objects.filter(pk__in=keys)
    operations.update(queue=queue)
    return list(operations.order_by("pk"))


def test_position__in_the_order_of_submits() -> None:
    assert [backlogs.position(operation).ahead for operation in submit(4)] == [0, 1, 2, 3]


def test_position__other_queues_do_not_count() -> None:
    submit(3, queue="slow")
    first, second = submit(2)
    assert (backlogs.position(first).ahead, backlogs.position(second).ahead) == (0, 1)


def test_position__only_due_operations_are_ahead() -> None:
    running, canceled, delayed, last = submit(4)
    assert lifecycle.claim(running, worker="w")
    services.cancel(canceled)
    later = timezone.now() + timedelta(hours=1)
    Operation.objects.filter(pk=delayed.pk).update(available_at=later)
    position = backlogs.position(last)
    assert (position.ahead, position.workers, position.is_exact) == (0, 1, True)


def test_position__counts_living_workers_of_the_queue() -> None:
    first, second = submit(2)
    Worker.objects.create(name="a", concurrency=4, queues=["celery", "slow"])
    Worker.objects.create(name="b", concurrency=2, queues=["slow"])
    Worker.objects.create(
        name="gone",
        concurrency=8,
        queues=["celery"],
        seen_at=timezone.now() - timedelta(hours=1),
    )
    assert lifecycle.claim(first, worker="w")
    position = backlogs.position(second)
    assert (position.workers, position.idle) == (4, 3)


def test_position__mean_seconds_of_the_kinds_ahead(ran: Callable[..., None]) -> None:
    ran(*[10.0] * 5)
    ran(*[1.0] * 5, kind=persist.name)
    histories.durations(echo.name)
    submit(1)
    submit(3, task=persist)
    (last,) = submit(1)
    # This process has read no durations of the other kind yet. That kind counts as the average.
    assert backlogs.position(last).mean_seconds == pytest.approx(10, abs=0.1)
    histories.durations(persist.name)
    assert backlogs.position(last).mean_seconds == pytest.approx(13 / 4, abs=0.1)


def test_position__behind_all_rows_that_were_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlogs, "ROWS_READ", 3)
    *_, third, last = submit(5)[1:]
    assert (backlogs.position(last).ahead, backlogs.position(last).is_exact) == (3, False)
    assert not backlogs.position(third).is_exact


def test_position__delayed_operations_hide_no_due_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delayed operations were not published. Some databases sort them before all others."""
    monkeypatch.setattr(backlogs, "ROWS_READ", 4)
    *_, last = submit(3)
    later = timezone.now() + timedelta(hours=1)
    for _ in range(4):
        services.submit(echo, available_at=later)
    position = backlogs.position(last)
    assert (position.ahead, position.is_exact) == (2, True)


def test_position__needs_three_queries_in_two_seconds(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    monkeypatch.setattr(backlogs, "REFRESH_SECONDS", float("inf"))
    first, second = submit(2)
    with django_assert_num_queries(3):
        backlogs.position(first)
        backlogs.position(second)
