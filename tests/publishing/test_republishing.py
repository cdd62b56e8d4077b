from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from kombu import Queue
from pytest_django import Settings

from async_reply import lifecycle, services
from async_reply.models import Operation, Worker
from async_reply.publishing import broker as celerys_broker
from async_reply.publishing import queues, relay
from async_reply.status import Status
from tests.project.tasks import echo, persist
from tests.publishing.brokers import pass_time, read_by, route

pytestmark = pytest.mark.django_db


@pytest.fixture
def holds(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """The broker counts so many messages in each queue."""

    def count(messages: int | None) -> None:
        monkeypatch.setattr(celerys_broker, "count", lambda queue: messages)

    count(0)
    return count


@pytest.fixture(autouse=True)
def worker() -> str:
    """The name of a worker that lives, reads a few queues, and has two processes."""
    read_by("celery", "slow", concurrency=2)
    name: str = Worker.objects.get().name
    return name


def submitted(count: int = 1, *, ago: float = 60) -> list[Operation]:
    made = [services.submit(echo) for _ in range(count)]
    pass_time(ago)
    return made


@pytest.mark.parametrize(
    ("messages", "expected"), [(0, 3), (1, 2), (2, 1), (3, 0), (500, 0), (None, 0)]
)
def test_republish__what_the_broker_counts_too_few_of(
    broker: list[str],
    holds: Callable[[int | None], None],
    messages: int | None,
    expected: int,
) -> None:
    """The oldest; nothing where the count cannot be had."""
    holds(messages)
    made = submitted(3)
    broker.clear()
    assert relay.republish_lost() == expected
    assert broker == [str(operation.pk) for operation in made[:expected]]


def test_republish__what_was_just_published_is_let_alone(
    broker: list[str], holds: Callable[[int | None], None]
) -> None:
    submitted(ago=8)
    assert relay.republish_lost() == 0
    pass_time(3)
    assert relay.republish_lost() == 1


def test_republish__each_wait_is_twice_the_one_before(
    broker: list[str], holds: Callable[[int | None], None]
) -> None:
    """Up to 320 seconds."""
    submitted(ago=0)
    for wait in (10, 20, 40, 80, 160, 320, 320):
        pass_time(wait - 3)
        assert relay.republish_lost() == 0, wait
        pass_time(4)
        assert relay.republish_lost() == 1, wait


def test_republish__messages_that_were_claimed_double_no_wait(
    holds: Callable[[int | None], None],
) -> None:
    submitted()
    for _ in range(3):
        row = Operation.objects.get()
        assert lifecycle.claim(row, worker="w")
        assert lifecycle.release(row)
        assert relay.publish_due() == 1
    pass_time(11)
    assert relay.republish_lost() == 1


def test_republish__within_minutes_few_messages_for_what_is_lost_each_time(
    broker: list[str], holds: Callable[[int | None], None]
) -> None:
    submitted(2, ago=0)
    for _ in range(12 * 12):
        pass_time(5)
        relay.republish_lost()
    assert len(broker) <= 2 * 8


def test_republish__nothing_into_a_queue_that_nobody_reads(
    broker: list[str], holds: Callable[[int | None], None]
) -> None:
    submitted(2)
    Operation.objects.update(queue="typo")
    later = services.submit(echo)
    Operation.objects.filter(pk=later.pk).update(queue="typo")
    assert lifecycle.claim(later, worker="w")
    assert relay.republish_lost() == 0
    read_by("typo")
    assert relay.republish_lost() == 2


@pytest.mark.parametrize("changes", [{"seen_at": "2001-01-01T00:00:00Z"}, {"queues": []}])
def test_republish__nothing_without_a_living_worker(
    holds: Callable[[int | None], None], changes: dict[str, Any]
) -> None:
    submitted()
    Worker.objects.update(**changes)
    assert relay.republish_lost() == 0


def test_republish__nothing_that_a_busy_worker_may_hold(
    holds: Callable[[int | None], None], worker: str
) -> None:
    """Both of its processes run a job; with one to spare it would have started what it holds."""
    submitted(4)
    first, second, *_ = Operation.objects.order_by("pk")
    assert lifecycle.claim(first, worker=f"{worker}/1")
    assert lifecycle.claim(second, worker=f"{worker}/2")
    Operation.objects.active().update(publishes=2)
    assert relay.republish_lost() == 0
    assert lifecycle.succeed(first)
    assert relay.republish_lost() == 2


def test_republish__by_another_worker_with_a_process_to_spare(
    holds: Callable[[int | None], None], worker: str
) -> None:
    submitted(3)
    for number, operation in enumerate(Operation.objects.order_by("pk")[:2]):
        assert lifecycle.claim(operation, worker=f"{worker}/{number}")
    Operation.objects.active().update(publishes=2)
    assert relay.republish_lost() == 0
    read_by("celery")
    assert relay.republish_lost() == 1


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({"started_at": 60}, 0),
        ({"started_at": 600}, 1),
        ({"started_at": 600, "finished_at": 60, "status": Status.SUCCEEDED}, 0),
        ({"started_at": 600, "finished_at": 600, "status": Status.SUCCEEDED}, 1),
    ],
)
def test_republish__what_a_rate_limit_holds_up_only_when_none_starts(
    holds: Callable[[int | None], None],
    monkeypatch: pytest.MonkeyPatch,
    times: dict[str, Any],
    expected: int,
) -> None:
    monkeypatch.setattr(echo, "rate_limit", "1/m")
    other, _ = submitted(2)
    now = timezone.now()
    changes = {"status": Status.RUNNING, "publishes": 2} | {
        name: now - timedelta(seconds=value) if name.endswith("at") else value
        for name, value in times.items()
    }
    Operation.objects.filter(pk=other.pk).update(**changes)
    assert relay.republish_lost() == expected


def test_republish__what_has_no_rate_limit_beside_what_has_one(
    broker: list[str], holds: Callable[[int | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(echo, "rate_limit", "1/m")
    limited = services.submit(echo)
    assert lifecycle.claim(services.submit(echo), worker="w")
    free = services.submit(persist)
    pass_time()
    broker.clear()
    assert relay.republish_lost() == 1
    assert broker == [str(free.pk)] != [str(limited.pk)]


def test_republish__a_rate_limit_is_not_overtaken_by_other_kinds(
    holds: Callable[[int | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(echo, "rate_limit", "1/m")
    holds(500)
    submitted()
    assert lifecycle.claim(services.submit(persist), worker="w")
    assert relay.republish_lost() == 0
    assert lifecycle.claim(services.submit(echo), worker="w")
    assert relay.republish_lost() == 1


def test_republish__what_was_overtaken(
    broker: list[str], holds: Callable[[int | None], None]
) -> None:
    holds(500)
    (lost,) = submitted()
    broker.clear()
    assert relay.republish_lost() == 0
    later = services.submit(echo)
    broker.clear()
    assert lifecycle.claim(later, worker="w")
    assert relay.republish_lost() == 1
    assert broker == [str(lost.pk)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 1),
        ({"queue": "slow"}, 0),
        ({"priority": 9}, 0),
        ({"publishes": 2}, 0),
        ({"kind": "tests.elsewhere"}, 0),
        ({"kind": "tests.addressed"}, 0),
        ({"kind": "tests.unroutable"}, 0),
        ({"published_at": timezone.now() - timedelta(minutes=1, seconds=-5)}, 0),
        ({"status": Status.SUCCEEDED}, 0),
    ],
)
def test_republish__overtaken_only_by_what_stood_behind_it(
    changes: dict[str, Any],
    expected: int,
    holds: Callable[[int | None], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    holds(500)
    routes = {
        "tests.elsewhere": {"queue": "slow"},
        "tests.addressed": {"exchange": "reports", "routing_key": "pdf"},
        "tests.unroutable": {"queue": "misspelt"},
    }
    known = Queue("celery"), Queue("slow")
    route(monkeypatch, [routes], *known, create_missing=False)
    (waiting,) = submitted()
    later = services.submit(echo)
    assert lifecycle.claim(later, worker="w")
    Operation.objects.filter(pk=later.pk).update(**changes)
    assert relay.republish_lost() == expected
    waiting.refresh_from_db()
    assert waiting.publishes == 1 + expected


def test_republish__to_an_exchange_of_no_known_queue_only_what_was_overtaken(
    holds: Callable[[int | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither counted nor known to be read."""
    address = {"exchange": "reports", "routing_key": "pdf"}
    route(monkeypatch, [{echo.name: address}], Queue("celery"))
    submitted(2)
    assert relay.republish_lost() == 0
    assert lifecycle.claim(services.submit(echo), worker="w")
    assert relay.republish_lost() == 2


def test_republish__long_backlog_is_let_alone(
    broker: list[str], holds: Callable[[int | None], None]
) -> None:
    holds(500)
    submitted(5)
    broker.clear()
    assert lifecycle.claim(Operation.objects.order_by("pk")[0], worker="w")
    assert relay.republish_lost() == 0
    assert broker == []


def test_republish__a_batch_oldest_first(
    broker: list[str], holds: Callable[[int | None], None], settings: Settings
) -> None:
    settings.ASYNC_REPLY = {"BATCH": 2}
    made = [services.submit(echo) for _ in range(3)]
    for minutes, operation in zip((1, 3, 2), made, strict=True):
        Operation.objects.filter(pk=operation.pk).update(
            published_at=timezone.now() - timedelta(minutes=minutes)
        )
    broker.clear()
    assert relay.republish_lost() == 2
    assert broker == [str(made[1].pk), str(made[2].pk)]


def test_republish__misspelt_queue_hinders_no_other(
    broker: list[str], holds: Callable[[int | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    routes = [{persist.name: {"queue": "misspelt"}}]
    route(monkeypatch, routes, Queue("celery"), create_missing=False)
    (good,) = submitted()
    services.submit(persist)
    pass_time()
    broker.clear()
    assert relay.republish_lost() == 1
    assert broker == [str(good.pk)]


def test_republish__long_backlog_of_one_kind_hides_no_other(
    broker: list[str], holds: Callable[[int | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not all that waits is read: the oldest of all, and of each kind."""
    monkeypatch.setattr(queues, "MAX_ROWS", 4)
    monkeypatch.setattr(queues, "MAX_ROWS_OF_KIND", 2)
    submitted(8)
    Operation.objects.update(queue="typo")
    hidden = services.submit(persist)
    pass_time()
    broker.clear()
    assert relay.republish_lost() == 1
    assert broker == [str(hidden.pk)]


def test_republish__claimed_by_an_old_message_of_an_unpublished_row(broker: list[str]) -> None:
    operation = services.submit(echo)
    assert lifecycle.claim(operation, worker="w1")
    assert lifecycle.release(operation)
    again = Operation.objects.get()
    assert lifecycle.claim(again, worker="w2")
    assert relay._last_claimed() == {}
    assert relay.republish_lost() == 0
