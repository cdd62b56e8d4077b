"""A broker that is away in several ways: the 202 comes in time, and everything is done later."""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.faults.brokers import WAYS
from tests.faults.clients import Asked, Client
from tests.faults.conftest import FULL
from tests.faults.servers import RabbitMQ, Redis, Server
from tests.faults.system import System

pytestmark = pytest.mark.faults

SUBMITS = 60 if FULL else 24
PUBLISH_TIMEOUT = 1.0
SLOW = 0.4
#: Beyond the bounds, for a machine that does other things as well.
NOISE = 0.3
IN_SHORT = {("redis", "refused"), ("redis", "frozen")}
CELLS = [
    (broker, way)
    for broker in ("redis", "rabbitmq")
    for way in WAYS
    if (broker, way) != ("redis", "blocked") and (FULL or (broker, way) in IN_SHORT)
]
BROKERS: dict[str, Callable[[], Server]] = {"redis": Redis, "rabbitmq": RabbitMQ}


@pytest.fixture(scope="module")
def systems(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, System]]:
    """One for each broker, started when first asked for."""
    started: dict[str, System] = {}
    yield started
    for system in started.values():
        system.stop()


def system_of(systems: dict[str, System], broker: str, folder: Path) -> System:
    if broker not in systems:
        # One web process, so that there is one breaker.
        system = System(
            folder, database=None, broker=BROKERS[broker](), lease=10, workers=1, web_workers=1
        )
        systems[broker] = system
        system.start()
    return systems[broker]


@pytest.mark.parametrize(("broker", "way"), CELLS)
def test_broker__away(
    systems: dict[str, System], broker: str, way: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    system = system_of(systems, broker, tmp_path_factory.mktemp(broker))
    assert system.broker is not None
    assert _submit(system, f"{broker} {way} before", 3)
    with WAYS[way](system.broker):
        times = _submit(system, f"{broker} {way}", SUBMITS)
    print(f"{broker} {way}: median {statistics.median(times):.3f} max {max(times):.3f}")  # noqa: T201
    rows = json.loads(system.manage("faults_rows", "--wait", "90"))
    assert {row["status"] for row in rows["operations"]} == {"succeeded"}
    assert max(times) < PUBLISH_TIMEOUT + NOISE
    assert statistics.median(times) < 0.1
    # Once known to be away it is not waited for, until the breaker closes again.
    slow = [seconds > SLOW for seconds in times]
    assert not any(one and following for one, following in pairwise(slow))


def _submit(system: System, name: str, count: int) -> list[float]:
    """The seconds of `count` submits, one after the other."""
    wishes = []
    for number in range(count):
        token = f"{name} {number} {time.time_ns()}"
        body = {"seconds": 0, "manner": "silent", "token": token}
        wishes.append(Asked(token, body, "/work/", cancels=False))
    client = Client(system.base_url, wishes, pace=0.12, seed=0, watches=False, repeats=0)
    client.run()
    assert client.errors == []
    assert [len(wish.tries) for wish in wishes] == [1] * count
    return [wish.tries[0][1] for wish in wishes]
