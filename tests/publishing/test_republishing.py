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
    """Set how many messages the broker counts in each queue; None: it cannot count."""

    def count(messages: int | None) -> None:
        monkeypatch.setattr(celerys_broker, "count", lambda queue: messages)

    count(0)
    return count


@pytest.fixture(autouse=True)
def worker() -> str:
    """The name of a living worker with two processes, which reads two queues."""
    read_by("celery", "slow", concurrency=2)
    name: str = Worker.objects.get().name
    return name


def submitted(count: int = 1, *, ago: float = 60) -> list[Operation]:
    operations = [services.submit(echo) for _ in range(count)]
    pass_time(ago)
    return operations


@pytest.mark.parametrize(
    ("messages", "expected"), [(0, 3), (1, 2), (2, 1), (3, 0), (500, 0), (None, 0)]
)
def test_republish__as_many_as_the_broker_misses(
    broker: list[str],
    holds: Callable[[int | None], None],
    messages: int | None,
    expected: int,
) -> None:
    """The oldest are sent again; nothing if the broker cannot count."""
    holds(messages)
    operations = submitted(3)
    broker.clear()
    assert relay.republish_lost() == expected
    assert broker == [str(operation.pk) for operation in operations[:expected]]


def test_republish__waits_after_a_publish(
    broker: list[str], holds: Callable[[int | None], None]
) -> None:
    submitted(ago=8)
    assert relay.republish_lost() == 0
    pass_time(3)
    assert relay.republish_lost() == 1


def test_republish__waits_twice_as_long_each_time(
    broker: list[str], holds: Callable[[int | None], None]
) -> None:
    """The wait grows to 320 seconds."""
    submitted(ago=0)
    for wait in (10, 20, 40, 80, 160, 320, 320):
        pass_time(wait - 3)
        assert relay.republish_lost() == 0, wait
        pass_time(4)
        assert relay.republish_lost() == 1, wait


def test_republish__claimed_messages_do_not_lengthen_the_wait(
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


def test_republish__sends_few_messages_if_each_is_lost(
    broker: list[str], holds: Callable[[int | None], None]
) -> None:
    submitted(2, ago=0)
    for _ in range(12 * 12):
        pass_time(5)
        relay.republish_lost()
    assert len(broker) <= 2 * 8


def test_republish__nothing_to_a_queue_without_a_worker(
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


def test_republish__nothing_while_workers_are_busy(
    holds: Callable[[int | None], None], worker: str
) -> None:
    """Both processes run a job. An idle process would have started any message held."""
    submitted(4)
    first, second, *_ = Operation.objects.order_by("pk")
    assert lifecycle.claim(first, worker=f"{worker}/1")
    assert lifecycle.claim(second, worker=f"{worker}/2")
    Operation.objects.active().update(publishes=2)
    assert relay.republish_lost() == 0
    assert lifecycle.succeed(first)
    assert relay.republish_lost() == 2


def test_republish__if_another_worker_is_idle(
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
def test_republish__with_a_rate_limit_only_if_no_job_starts(
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


def test_republish__kind_without_a_rate_limit_beside_one_with_it(
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


def test_republish__other_kinds_do_not_overtake_a_rate_limit(
    holds: Callable[[int | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(echo, "rate_limit", "1/m")
    holds(500)
    submitted()
    assert lifecycle.claim(services.submit(persist), worker="w")
    assert relay.republish_lost() == 0
    assert lifecycle.claim(services.submit(echo), worker="w")
    assert relay.republish_lost() == 1


def test_republish__message_that_was_overtaken(
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
def test_republish__only_messages_of_the_same_lane_overtake(
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
    celery_queues = Queue("celery"), Queue("slow")
    route(monkeypatch, [routes], *celery_queues, create_missing=False)
    (waiting,) = submitted()
    later = services.submit(echo)
    assert lifecycle.claim(later, worker="w")
    Operation.objects.filter(pk=later.pk).update(**changes)
    assert relay.republish_lost() == expected
    waiting.refresh_from_db()
    assert waiting.publishes == 1 + expected


def test_republish__to_an_exchange_only_if_overtaken(
    holds: Callable[[int | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queues of the exchange are unknown: messages are not counted, nor are workers known."""
    address = {"exchange": "reports", "routing_key": "pdf"}
    route(monkeypatch, [{echo.name: address}], Queue("celery"))
    submitted(2)
    assert relay.republish_lost() == 0
    assert lifecycle.claim(services.submit(echo), worker="w")
    assert relay.republish_lost() == 2


def test_republish__nothing_of_a_long_backlog(
    broker: list[str], holds: Callable[[int | None], None]
) -> None:
    holds(500)
    submitted(5)
    broker.clear()
    assert lifecycle.claim(Operation.objects.order_by("pk")[0], worker="w")
    assert relay.republish_lost() == 0
    assert broker == []


def test_republish__a_batch_of_the_oldest(
    broker: list[str], holds: Callable[[int | None], None], settings: Settings
) -> None:
    settings.ASYNC_REPLY = {"BATCH": 2}
    operations = [services.submit(echo) for _ in range(3)]
    for minutes, operation in zip((1, 3, 2), operations, strict=True):
        Operation.objects.filter(pk=operation.pk).update(
            published_at=timezone.now() - timedelta(minutes=minutes)
        )
    broker.clear()
    assert relay.republish_lost() == 2
    assert broker == [str(operation.pk) for operation in operations[1:]]


def test_republish__goes_on_beside_a_misspelt_queue(
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


def test_republish__kind_behind_a_long_backlog(
    broker: list[str], holds: Callable[[int | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest of all operations are read, and the oldest of each kind."""
    monkeypatch.setattr(queues, "MAX_ROWS", 4)
    monkeypatch.setattr(queues, "MAX_ROWS_OF_KIND", 2)
    submitted(8)
    Operation.objects.update(queue="typo")
    hidden = services.submit(persist)
    pass_time()
    broker.clear()
    assert relay.republish_lost() == 1
    assert broker == [str(hidden.pk)]


def test_republish__after_a_claim_by_an_old_message(broker: list[str]) -> None:
    operation = services.submit(echo)
    assert lifecycle.claim(operation, worker="w1")
    assert lifecycle.release(operation)
    again = Operation.objects.get()
    assert lifecycle.claim(again, worker="w2")
    assert relay._last_claimed() == {}
    assert relay.republish_lost() == 0
