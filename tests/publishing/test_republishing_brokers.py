"""What a broker holds is not published again, and what it has lost is: by every way of routing."""

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

COUNT = 12
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
    """A dozen, with all priorities of this way."""
    for number in range(COUNT):
        priority = way.priorities[number % len(way.priorities)]
        monkeypatch.setattr(echo, "kind", replace(echo.kind, priority=priority))
        services.submit(echo)


def turns(count: int = TURNS, seconds: float = 400) -> int:
    """So many turns of the relay, far from one another."""
    republished = 0
    for _ in range(count):
        pass_time(seconds)
        republished += relay.republish_lost()
    return republished


def messages() -> int:
    return sum(Operation.objects.values_list("publishes", flat=True))


def take(queue: Queue, count: int) -> list[Any]:
    taken = [queue.get(no_ack=True) for _ in range(count)]
    assert None not in taken
    return taken


def test_backlog__is_left_alone(submitted: None, queue: Queue) -> None:
    read_by(queue.name)
    assert celerys_broker.count(queue.name) == COUNT
    assert turns() == 0
    assert (messages(), celerys_broker.count(queue.name)) == (COUNT, COUNT)


def test_backlog__of_which_messages_were_lost_is_complete_again(
    submitted: None, queue: Queue
) -> None:
    """As many are sent again as are missing, and with them each job has its message."""
    read_by(queue.name)
    take(queue, COUNT // 3)
    assert turns() == COUNT // 3
    assert celerys_broker.count(queue.name) == COUNT
    assert messages() <= 1.1 * COUNT + conf.DEFAULTS["BATCH"]


def test_backlog__of_which_all_messages_were_lost_is_sent_again(
    submitted: None, queue: Queue
) -> None:
    read_by(queue.name)
    take(queue, COUNT)
    assert turns() == COUNT
    assert {str(pk) for pk in Operation.objects.values_list("pk", flat=True)} == {
        message.headers["id"] for message in take(queue, COUNT)
    }


def test_backlog__that_nobody_reads_gets_no_second_message(submitted: None, queue: Queue) -> None:
    take(queue, COUNT)
    read_by("another")
    assert (turns(), messages()) == (0, COUNT)


def test_backlog__behind_a_slow_job_gets_no_second_message(submitted: None, queue: Queue) -> None:
    """The worker holds the messages, and no broker counts them."""
    read_by(queue.name)
    take(queue, COUNT)
    worker = Worker.objects.get()
    slow = Operation.objects.earliest("pk")
    assert lifecycle.claim(slow, worker=f"{worker.name}/1")
    assert (turns(), messages()) == (0, COUNT)
    assert lifecycle.succeed(slow)
    assert turns(1) == COUNT - 1


def test_backlog__under_a_rate_limit_gets_no_second_message(
    submitted: None, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker holds them until it may start the next; they are lost when none starts."""
    monkeypatch.setattr(echo, "rate_limit", "1/m")
    read_by(queue.name, concurrency=4)
    take(queue, COUNT)
    first = Operation.objects.earliest("pk")
    assert lifecycle.claim(first, worker="elsewhere/1")
    assert lifecycle.succeed(first)
    assert (turns(), messages()) == (0, COUNT)
    Operation.objects.filter(pk=first.pk).update(finished_at="2001-01-01T00:00:00Z")
    assert turns(1) == COUNT - 1
