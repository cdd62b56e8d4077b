"""Our own threads take no connection from Django's pool."""

import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection, connections

from async_reply import lifecycle, services
from async_reply.attempts import claims, heartbeats
from async_reply.attempts.heartbeats import Heart
from async_reply.database import pooling
from async_reply.models import Operation
from async_reply.notifications import announcements
from async_reply.worker import requests
from async_reply.worker.maintenance import Duty, Maintenance
from tests.concurrency import in_thread, until
from tests.project.tasks import echo

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="Django has no pool there"),
]


@pytest.fixture(autouse=True)
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A pool of one connection. Waiting for it fails after a second."""
    pytest.importorskip("psycopg_pool", reason="needs psycopg[pool]")
    connection.close()
    options = {"min_size": 1, "max_size": 1, "timeout": 1}
    changed = {**connection.settings_dict["OPTIONS"], "pool": options}
    with monkeypatch.context() as pooled:
        pooled.setitem(connection.settings_dict, "OPTIONS", changed)
        pooled.setitem(connection.settings_dict, "CONN_MAX_AGE", 0)
        pooled.setitem(connection.settings_dict, "CONN_HEALTH_CHECKS", False)
        yield
        connection.close()
        pooling.close_pool()


def take_last_connection() -> None:
    """Take the pool's only connection in this thread, as a job does."""
    connection.ensure_connection()
    with in_thread(lambda: Operation.objects.count()) as counted:
        assert isinstance(counted.exception(), OperationalError)


def test_heartbeat__beats_while_the_pool_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "BEAT_SECONDS", 0.02)
    operation = services.submit(echo)
    assert lifecycle.claim(operation, worker="w1")
    claim, heart = claims.Claim(operation, inline=False), Heart()
    take_last_connection()
    claim.progress = (50, "", 0, None)
    heart.add(claim)
    until(lambda: Operation.objects.get().progress == 50)
    assert not claim.is_neglected
    heart.remove(claim)


def test_maintenance__goes_on_while_the_pool_is_empty() -> None:
    counted = threading.Event()

    def count() -> int:
        number: int = Operation.objects.count()
        counted.set()
        return number

    take_last_connection()
    thread = Maintenance([Duty("count", 0.01, count)])
    thread.start()
    until(counted.is_set)
    thread.stop()


def test_take_back__goes_on_while_the_pool_is_empty(caplog: pytest.LogCaptureFixture) -> None:
    operation = services.submit(echo)
    assert lifecycle.claim(operation, worker="w1")
    take_last_connection()
    thread = threading.Thread(
        target=requests._take_back,
        args=(operation.pk,),
        kwargs={"worker": "w1", "timed_out": False},
    )
    thread.start()
    thread.join(30)
    assert Operation.objects.get().status == "pending"


def test_listener__takes_no_connection_of_the_pool(settings: Any) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "NOTIFY": "postgresql"}
    listening = threading.Event()
    with announcements.listening(lambda pk, **_: listening.set()):
        assert listening.wait(30)
        connection.ensure_connection()


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_fork__child_does_not_close_the_parents_pool() -> None:
    """Celery closes the pool in each new child."""
    assert Operation.objects.count() == 0
    connection.close()
    pooled: Any = connections["default"]
    until(lambda: pooled.pool.get_stats()["pool_available"] == 1)
    pid = os.fork()
    if pid == 0:
        pooled.close_pool()
        os._exit(0)
    os.waitpid(pid, 0)
    assert Operation.objects.count() == 0


def test_leave_pool__concerns_one_thread() -> None:
    def leave() -> bool:
        pooling.leave_pool()
        return pooling.has_pool()

    with in_thread(leave) as left:
        assert left.result() is False
    assert pooling.has_pool()
