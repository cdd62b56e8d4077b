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
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlogs, "REFRESH", 0)


def submit(count: int, *, task: Any = echo, queue: str = "") -> list[Operation]:
    made = [services.submit(task) for _ in range(count)]
    Operation.objects.filter(pk__in=[each.pk for each in made]).update(queue=queue)
    return list(Operation.objects.filter(pk__in=[each.pk for each in made]).order_by("pk"))


def test_place__in_the_order_of_submits() -> None:
    assert [backlogs.place(each).ahead for each in submit(4)] == [0, 1, 2, 3]


def test_place__other_queues_do_not_count() -> None:
    submit(3, queue="slow")
    first, second = submit(2)
    assert (backlogs.place(first).ahead, backlogs.place(second).ahead) == (0, 1)


def test_place__what_does_not_wait_is_not_ahead() -> None:
    running, canceled, delayed, last = submit(4)
    assert lifecycle.claim(running, worker="w")
    services.cancel(canceled)
    later = timezone.now() + timedelta(hours=1)
    Operation.objects.filter(pk=delayed.pk).update(available_at=later)
    place = backlogs.place(last)
    assert (place.ahead, place.workers, place.is_exact) == (0, 1, True)


def test_place__workers_of_the_queue() -> None:
    alone, behind = submit(2)
    Worker.objects.create(name="a", concurrency=4, queues=["celery", "slow"])
    Worker.objects.create(name="b", concurrency=2, queues=["slow"])
    Worker.objects.create(
        name="gone",
        concurrency=8,
        queues=["celery"],
        seen_at=timezone.now() - timedelta(hours=1),
    )
    assert lifecycle.claim(alone, worker="w")
    place = backlogs.place(behind)
    assert (place.workers, place.idle) == (4, 3)


def test_place__mean_of_the_kinds_ahead(ran: Callable[..., None]) -> None:
    ran(*[10.0] * 5)
    ran(*[1.0] * 5, kind=persist.name)
    histories.durations(echo.name)
    submit(1)
    submit(3, task=persist)
    (last,) = submit(1)
    # Nobody asked about the other kind in this process: it is taken for the same.
    assert backlogs.place(last).mean == pytest.approx(10, abs=0.1)
    histories.durations(persist.name)
    assert backlogs.place(last).mean == pytest.approx(13 / 4, abs=0.1)


def test_place__behind_all_that_was_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlogs, "LOOKED_AT", 3)
    *_, third, last = submit(5)[1:]
    assert (backlogs.place(last).ahead, backlogs.place(last).is_exact) == (3, False)
    assert not backlogs.place(third).is_exact


def test_place__what_is_delayed_hides_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was not published: some databases sort it before all that was."""
    monkeypatch.setattr(backlogs, "LOOKED_AT", 4)
    *_, last = submit(3)
    later = timezone.now() + timedelta(hours=1)
    for _ in range(4):
        services.submit(echo, available_at=later)
    place = backlogs.place(last)
    assert (place.ahead, place.is_exact) == (2, True)


def test_place__three_statements_in_two_seconds(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    monkeypatch.setattr(backlogs, "REFRESH", float("inf"))
    first, second = submit(2)
    with django_assert_num_queries(3):
        backlogs.place(first)
        backlogs.place(second)
