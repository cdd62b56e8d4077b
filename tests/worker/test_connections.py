"""Heartbeats and maintenance go on after the database or a forked child ends their connection."""

import gc
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from django.db import connection

from async_reply import database, lifecycle, services
from async_reply.attempts import heartbeats, outages
from async_reply.attempts.claims import Claim
from async_reply.attempts.heartbeats import Heart
from async_reply.models import Operation
from async_reply.worker.maintenance import Duty, Maintenance
from async_reply.worker.presence import Presence
from tests.project.tasks import echo

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor == "sqlite", reason="no server ends connections"),
]

OTHERS = {
    "postgresql": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    "mysql": "SELECT id FROM information_schema.processlist "
    "WHERE db = DATABASE() AND id <> CONNECTION_ID()",
}


def kill_others() -> None:
    """End all other connections to this database."""
    with connection.cursor() as cursor:
        cursor.execute(OTHERS[connection.vendor])
        for (number,) in cursor.fetchall():
            if connection.vendor == "mysql":
                cursor.execute("KILL CONNECTION %s", [number])


def fork() -> None:
    """Fork a child. It has none of its parent's threads, so it collects their connections.

    mysqlclient then sends a goodbye to the server on the parent's socket.
    """
    pid = os.fork()
    if pid == 0:
        gc.collect()
        os._exit(0)
    os.waitpid(pid, 0)


LOSSES = [
    pytest.param(kill_others, id="killed"),
    pytest.param(fork, id="forked", marks=pytest.mark.filterwarnings("ignore:.*fork")),
]


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


@pytest.fixture
def claim(monkeypatch: pytest.MonkeyPatch) -> Iterator[Claim]:
    monkeypatch.setattr(heartbeats, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(outages, "PAUSE_SECONDS", 0.02)
    operation = services.submit(echo)
    assert lifecycle.claim(operation, worker="w1")
    claim, heart = Claim(operation, inline=False), Heart()
    heart.add(claim)
    yield claim
    resting, disconnect = threading.Event(), database.disconnect

    def disconnect_and_tell() -> None:
        disconnect()
        resting.set()

    monkeypatch.setattr(heartbeats, "disconnect", disconnect_and_tell)
    heart.remove(claim)
    assert resting.wait(30)


def shown(progress: int) -> Callable[[], bool]:
    return lambda: Operation.objects.get().progress == progress


@pytest.mark.parametrize("lose", LOSSES)
def test_heart__goes_on_with_another_connection(claim: Claim, lose: Callable[[], None]) -> None:
    for progress in (1, 2):
        claim.progress = (progress, "", 0, None)
        wait_until(shown(progress))
        lose()
    claim.progress = (3, "", 0, None)
    wait_until(shown(3))
    claim.check()


@pytest.mark.parametrize("lose", LOSSES)
def test_maintenance__goes_on_with_another_connection(lose: Callable[[], None]) -> None:
    turns = Counter[str]()

    def report() -> int:
        Presence(name="w1", concurrency=1, queues=["celery"]).report()
        turns["done"] += 1
        return 1

    def await_turns(number: int) -> None:
        wanted = turns["done"] + number
        wait_until(lambda: turns["done"] >= wanted)

    thread = Maintenance([Duty("report", 0.02, report)])
    thread.start()
    try:
        for _ in range(2):
            await_turns(1)
            lose()
        await_turns(2)
    finally:
        thread.stop(30)
    assert not thread.is_alive()
