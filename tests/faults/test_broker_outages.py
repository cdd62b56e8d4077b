"""A broker fails in several ways. Submits are answered in time, and all jobs run later."""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.faults.broker_outages import OUTAGES
from tests.faults.clients import Client, ClientRequest
from tests.faults.conftest import FULL
from tests.faults.servers import RabbitMQ, Redis, Server
from tests.faults.system import System

pytestmark = pytest.mark.faults

SUBMITS = 60 if FULL else 24
PUBLISH_TIMEOUT_SECONDS = 1.0
#: A submit that takes longer has waited for the broker.
SLOW_SECONDS = 0.4
#: Added to the limit, because the machine may be busy.
NOISE_SECONDS = 0.3
IN_SHORT = {("redis", "refused"), ("redis", "frozen")}
CELLS = [
    (broker, way)
    for broker in ("redis", "rabbitmq")
    for way in OUTAGES
    if (broker, way) != ("redis", "blocked") and (FULL or (broker, way) in IN_SHORT)
]
BROKERS: dict[str, Callable[[], Server]] = {"redis": Redis, "rabbitmq": RabbitMQ}


@pytest.fixture(scope="module")
def systems(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, System]]:
    """The systems by the name of their broker. Each starts when a test needs it."""
    started: dict[str, System] = {}
    yield started
    for system in started.values():
        system.stop()


def system_of(systems: dict[str, System], broker: str, folder: Path) -> System:
    if broker not in systems:
        # One web process has one circuit breaker.
        system = System(
            folder, database=None, broker=BROKERS[broker](), lease=10, workers=1, web_workers=1
        )
        systems[broker] = system
        system.start()
    return systems[broker]


@pytest.mark.parametrize(("broker", "way"), CELLS)
def test_outage__of_the_broker(
    systems: dict[str, System], broker: str, way: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    system = system_of(systems, broker, tmp_path_factory.mktemp(broker))
    assert system.broker is not None
    assert _submit(system, f"{broker} {way} before", 3)
    with OUTAGES[way](system.broker):
        times = _submit(system, f"{broker} {way}", SUBMITS)
    print(f"{broker} {way}: median {statistics.median(times):.3f} max {max(times):.3f}")  # noqa: T201
    rows = json.loads(system.manage("faults_rows", "--wait", "90"))
    assert {row["status"] for row in rows["operations"]} == {"succeeded"}
    assert max(times) < PUBLISH_TIMEOUT_SECONDS + NOISE_SECONDS
    assert statistics.median(times) < 0.1
    # After a slow submit the breaker is open, so the next submit does not wait for the broker.
    slow = [seconds > SLOW_SECONDS for seconds in times]
    assert not any(first and second for first, second in pairwise(slow))


def _submit(system: System, name: str, count: int) -> list[float]:
    """Make `count` submits, one after the other; return the seconds that each took."""
    requests = []
    for number in range(count):
        token = f"{name} {number} {time.time_ns()}"
        body = {"seconds": 0, "manner": "silent", "token": token}
        requests.append(ClientRequest(token, body, "/work/", cancels=False))
    client = Client(system.base_url, requests, pace=0.12, seed=0, watches=False, repeats=0)
    client.run()
    assert client.errors == []
    assert [len(request.tries) for request in requests] == [1] * count
    return [request.tries[0][1] for request in requests]
