"""Messages that a broker lost are published again, and no others, for each way of routing."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from kombu import Queue

from async_reply import conf, lifecycle, services
from async_reply.models import Operation, Worker
from async_reply.publishing import broker as celerys_broker
from async_reply.publishing import relay
from tests.project.tasks import echo
from tests.publishing.brokers import WAYS, Way, pass_time, queue_of, read_by, send

pytestmark = pytest.mark.django_db(transaction=True)

OPERATIONS = 12
TURNS = 8


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    return WAYS[request.param]


@pytest.fixture
def queue(way: Way, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    monkeypatch.setattr(celerys_broker, "send", send)
    with queue_of(echo.name, way, monkeypatch) as bound:
        yield bound


@pytest.fixture
def submitted(way: Way, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve operations with all priorities of this way."""
    for number in range(OPERATIONS):
        priority = way.priorities[number % len(way.priorities)]
        monkeypatch.setattr(echo, "kind", replace(echo.kind, priority=priority))
        services.submit(echo)


def turns(count: int = TURNS, seconds: float = 400) -> int:
    """Run several turns of the relay with long pauses; how many messages it sent again."""
    republished = 0
    for _ in range(count):
        pass_time(seconds)
        republished += relay.republish_lost()
    return republished


def messages_sent() -> int:
    return sum(Operation.objects.values_list("publishes", flat=True))


def take(queue: Queue, count: int) -> list[Any]:
    messages = [queue.get(no_ack=True) for _ in range(count)]
    assert None not in messages
    return messages


def test_backlog__in_the_broker_is_left_alone(submitted: None, queue: Queue) -> None:
    read_by(queue.name)
    assert celerys_broker.count(queue.name) == OPERATIONS
    assert turns() == 0
    assert (messages_sent(), celerys_broker.count(queue.name)) == (OPERATIONS, OPERATIONS)


def test_backlog__with_lost_messages_gets_those_again(submitted: None, queue: Queue) -> None:
    """Exactly the missing messages are sent again. Each operation then has a message."""
    read_by(queue.name)
    take(queue, OPERATIONS // 3)
    assert turns() == OPERATIONS // 3
    assert celerys_broker.count(queue.name) == OPERATIONS
    assert messages_sent() <= 1.1 * OPERATIONS + conf.DEFAULTS["BATCH"]


def test_backlog__without_messages_is_sent_again(submitted: None, queue: Queue) -> None:
    read_by(queue.name)
    take(queue, OPERATIONS)
    assert turns() == OPERATIONS
    assert {str(pk) for pk in Operation.objects.values_list("pk", flat=True)} == {
        message.headers["id"] for message in take(queue, OPERATIONS)
    }


def test_backlog__without_a_worker_gets_no_second_message(submitted: None, queue: Queue) -> None:
    take(queue, OPERATIONS)
    read_by("another")
    assert (turns(), messages_sent()) == (0, OPERATIONS)


def test_backlog__behind_a_slow_job_gets_no_second_message(submitted: None, queue: Queue) -> None:
    """The worker holds the messages, so the broker does not count them."""
    read_by(queue.name)
    take(queue, OPERATIONS)
    worker = Worker.objects.get()
    slow = Operation.objects.earliest("pk")
    assert lifecycle.claim(slow, worker=f"{worker.name}/1")
    assert (turns(), messages_sent()) == (0, OPERATIONS)
    assert lifecycle.succeed(slow)
    assert turns(1) == OPERATIONS - 1


def test_backlog__under_a_rate_limit_gets_no_second_message(
    submitted: None, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker holds messages until the limit lets it start. If none starts, they are lost."""
    monkeypatch.setattr(echo, "rate_limit", "1/m")
    read_by(queue.name, concurrency=4)
    take(queue, OPERATIONS)
    first = Operation.objects.earliest("pk")
    assert lifecycle.claim(first, worker="elsewhere/1")
    assert lifecycle.succeed(first)
    assert (turns(), messages_sent()) == (0, OPERATIONS)
    Operation.objects.filter(pk=first.pk).update(finished_at="2001-01-01T00:00:00Z")
    assert turns(1) == OPERATIONS - 1
