"""Each living worker has a row of its own. A worker that was stopped has none."""

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from async_reply.models import Worker
from async_reply.publishing.broker import breaker
from async_reply.publishing.queues import SEEN_WITHIN
from async_reply.worker import presence
from async_reply.worker.presence import Presence

pytestmark = pytest.mark.django_db


def named(name: str, *, concurrency: int = 1) -> Presence:
    return Presence(name=name, concurrency=concurrency, queues=["celery"])


def test_report__twice_keeps_one_row() -> None:
    worker = named("w1", concurrency=2)
    for _ in range(2):
        assert worker.report() == 0
    row = Worker.objects.get()
    assert (row.name, row.concurrency, row.queues) == ("w1", 2, ["celery"])
    assert "tests.project.echo" in row.kinds


def test_report__says_since_when_the_broker_is_down() -> None:
    worker = named("w1")
    worker.report()
    breaker.trip()
    worker.report()
    assert Worker.objects.get().broker_down_since == breaker.down_since is not None
    breaker.reset()
    worker.report()
    assert Worker.objects.get().broker_down_since is None


def test_report__costs_one_statement_and_follows_the_queues(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    """Celery's remote control adds and cancels queues of a worker that runs."""
    worker = named("w1")
    worker.report()
    with django_assert_num_queries(1):
        worker.report(queues=["celery", "reports"])
    worker.report()
    assert Worker.objects.get().queues == ["celery", "reports"]


def test_report__follows_the_size_of_the_pool() -> None:
    """Celery's remote control lets a pool grow and shrink, and --autoscale has its own bounds."""
    worker = named("w1", concurrency=2)
    worker.report(concurrency=5)
    worker.report()
    assert Worker.objects.get().concurrency == 5


def test_report__of_two_workers_with_one_name_makes_two_rows() -> None:
    """Two workers share a name on one host without `-n`, or in containers with one host name."""
    workers = [named("celery@host") for _ in range(2)]
    for worker in workers:
        worker.report()
    assert Worker.objects.count() == 2
    workers[0].delete()
    assert [row.pk for row in Worker.objects.all()] == [workers[1].id]


def test_report__replaces_a_killed_worker_of_the_same_name() -> None:
    long_ago = timezone.now() - 2 * SEEN_WITHIN
    Worker.objects.create(name="w1", seen_at=long_ago)
    Worker.objects.create(name="other", seen_at=long_ago)
    living = named("w1")
    living.report()
    named("w1").report()
    assert sorted(row.name for row in Worker.objects.all()) == ["other", "w1", "w1"]


def test_delete__before_the_first_report() -> None:
    named("w1").delete()
    assert not Worker.objects.exists()


def test_delete_dead__after_a_day(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for name, hours in {"gone": 25, "dead": 23, "alive": 0}.items():
        Worker.objects.create(name=name, seen_at=timezone.now() - timedelta(hours=hours))
    with django_assert_num_queries(1):
        assert presence.delete_dead() == 0
    assert sorted(Worker.objects.values_list("name", flat=True)) == ["alive", "dead"]
