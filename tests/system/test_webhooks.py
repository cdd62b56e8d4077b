"""Real workers deliver webhooks to a real receiver, also after they were killed."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import pytest

from tests.stacks.stack import Stack, follow, prepared, wait_until

pytest.importorskip("cryptography", reason="needs the extra webhooks")
pytest.importorskip("httpcore", reason="needs the extra webhooks")
pytest.importorskip("standardwebhooks", reason="needs the extra webhooks")

from tests.contrib.webhooks.receivers import Receiver, answering, receiving

pytestmark = pytest.mark.system

EVENTS = ["operation.started", "operation.succeeded", "operation.failed", "operation.canceled"]


@pytest.fixture(params=["postgresql+redis"])
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    database, broker = request.param.split("+")
    with prepared(
        tmp_path_factory.mktemp("webhooks"),
        database=database,
        broker=broker,
        settings="tests.project.hooked",
        lease=2,
    ) as running:
        yield running


class Refusals:
    """Answers the first message of each id by 500, and holds one answer back until it is freed."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = defaultdict(int)
        self.held = threading.Event()
        self.free = threading.Event()

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        message_id = handler.headers["webhook-id"]
        self.counts[message_id] += 1
        if self.counts[message_id] == 1:
            answering(500)(handler)
        elif not self.held.is_set():
            self.held.set()
            self.free.wait(60)
        else:
            answering(204)(handler)


def submit(client: httpx.Client, url: str, number: int) -> str:
    body = {"number": number, "callback": url, "callback_events": EVENTS}
    accepted = client.post("/hooked/", json=body)
    assert accepted.status_code == 202, accepted.text
    return accepted.headers["Location"]


def pk_of(location: str) -> str:
    return location.rstrip("/").rpartition("/")[2]


def test_workers__deliver_at_once_and_lose_nothing_when_they_are_killed(stack: Stack) -> None:
    worker = stack.start_worker()
    with receiving() as receiver, stack.client() as client:
        secret = client.post("/api/webhooks/callback-secret/").json()["secret"]
        _check_speed(client, receiver)
        receiver.verify(secret)

        refusals = Refusals()
        receiver.answer = refusals
        locations = [submit(client, receiver.url, number) for number in range(10)]
        for location in locations:
            assert follow(client, location).status_code == 200
        assert refusals.held.wait(60)
        # A message was sent, and its answer never comes.
        stack.end(worker)
        refusals.free.set()
        stack.start_worker(name="second")
        wanted = {f"{pk_of(location)}.succeeded" for location in locations}
        wait_until(
            lambda: all(refusals.counts[message_id] > 1 for message_id in wanted), seconds=120
        )
        receiver.verify(secret)
        for location in locations:
            _check_order(pk_of(location), receiver)
        wait_until(lambda: _open_deliveries(client) == 0, seconds=120)


def _check_speed(client: httpx.Client, receiver: Receiver) -> None:
    """The outcome is there within a second of its commit. The first delivery warms up."""
    for number in range(2):
        location = submit(client, receiver.url, number)
        follow(client, location)
        wait_until(lambda: f"{pk_of(location)}.succeeded" in receiver.ids, seconds=30)  # noqa: B023
    place = receiver.ids.index(f"{pk_of(location)}.succeeded")
    finished_at = datetime.fromisoformat(receiver.messages[place]["timestamp"])
    assert receiver.times[place] - finished_at.timestamp() < 1


def _check_order(pk: str, receiver: Receiver) -> None:
    names = [message_id.split(".")[1] for message_id in receiver.ids if message_id.startswith(pk)]
    assert names == sorted(names, key=["started", "succeeded"].index)
    bodies: dict[str, set[str]] = defaultdict(set)
    for headers, body in receiver.requests:
        bodies[headers["webhook-id"]].add(body)
    assert all(len(texts) == 1 for texts in bodies.values())


def _open_deliveries(client: httpx.Client) -> int:
    page: Any = client.get("/api/webhooks/deliveries/", params={"page_size": 200}).json()
    return sum(row["state"] == "open" for row in page["results"])
