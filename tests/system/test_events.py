"""A reader of the log sees what was committed, over reconnects, kills and stops of workers."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.project.talking import PARTS
from tests.stacks.stack import Stack, follow, prepared, wait_until

pytestmark = pytest.mark.system

PAIRINGS = ["sqlite+files", "postgresql+redis", "mariadb+redis"]


@pytest.fixture(params=PAIRINGS)
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    database, broker = request.param.split("+")
    with prepared(
        tmp_path_factory.mktemp("talking"),
        database=database,
        broker=broker,
        settings="tests.settings",
        lease=2,
    ) as running:
        running.start_worker()
        yield running


class Reader(threading.Thread):
    """Reads a stream of the log, and comes back after each second event."""

    def __init__(self, stack: Stack, url: str) -> None:
        super().__init__(daemon=True)
        self.events: list[dict[str, Any]] = []
        self.is_over = False
        self._stack, self._url = stack, url

    def run(self) -> None:
        with self._stack.client() as client:
            while not self.is_over:
                self._read(client)

    def _read(self, client: httpx.Client) -> None:
        fields = {"Accept": "text/event-stream"}
        if self.events:
            fields["Last-Event-ID"] = str(self.events[-1]["id"])
        with client.stream("GET", self._url, headers=fields) as response:
            self.is_over = response.status_code == 204
            event: dict[str, Any] = {}
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                if name in ("id", "data"):
                    event[name] = json.loads(value)
                elif name == "event":
                    event[name] = value
                elif not line and event:
                    self.events.append(event)
                    event = {}
                    if len(self.events) % 2 == 0:
                        return


@pytest.mark.parametrize("dies", [True, False], ids=["killed", "stopped"])
def test_log__reader_sees_what_was_committed(stack: Stack, dies: bool) -> None:
    with stack.client() as client:
        accepted = client.post("/talks/", json={"dies": dies})
        url = accepted.json()["links"]["log"]
        reader = Reader(stack, url)
        reader.start()
        if not dies:
            wait_until(lambda: len(reader.events) > 1)
            stack.processes[-1].stop()
            stack.start_worker(name="next")
        assert follow(client, accepted.headers["Location"]).json() == list(range(PARTS))
        reader.join(30)
        assert reader.is_over
        committed = client.get(url).json()["events"]
        document = client.get(accepted.headers["Operation-Location"]).json()
    assert reader.events == [
        {name: event[name] for name in ("event", "id", "data")} for event in committed
    ]
    numbers = [event["id"] for event in committed]
    assert numbers == sorted(set(numbers))
    # The lines of the handler are for operators, and count.
    assert numbers[-1] > len(numbers)
    assert "truncated" not in {event["event"] for event in committed}
    assert committed[-1]["event"] == "succeeded"
    assert document["attempt"] == (3 if dies else 2)
    attempts = [e["data"]["attempt"] for e in committed if e["event"] == "part"]
    assert attempts == sorted(attempts)
    assert parts_left(committed) == list(range(PARTS))


def parts_left(events: list[dict[str, Any]]) -> list[int]:
    """The numbers of the parts that no reset has made void."""
    left: list[dict[str, Any]] = []
    for event in events:
        if event["event"] == "reset":
            left = [earlier for earlier in left if earlier["id"] <= event["data"]["after"]]
        else:
            left.append(event)
    return [event["data"]["number"] for event in left if event["event"] == "part"]
