"""A process that is forked beside threads must not inherit their locks in SQLite."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest
from django.db import connections

from async_reply.database import alias
from async_reply.models import Operation
from async_reply.worker import forks
from async_reply.worker.maintenance import Duty, Maintenance

# Python 3.12 and newer warn of the forks that these tests make on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> forks.Gate:
    fresh = forks.Gate()
    monkeypatch.setattr(forks, "_gate", fresh)
    return fresh


@contextmanager
def writing_thread(
    gate: AbstractContextManager[None], file: Path, forked: threading.Event, *, seconds: float
) -> Iterator[None]:
    """Lock `file` for writing in a thread, inside `gate`, for `seconds` or until the fork."""
    locked = threading.Event()

    def write() -> None:
        with gate:
            connection = sqlite3.connect(file, isolation_level=None)
            connection.execute("BEGIN IMMEDIATE")
            locked.set()
            forked.wait(seconds)
            connection.execute("COMMIT")
            connection.close()

    thread = threading.Thread(target=write)
    thread.start()
    assert locked.wait(5)
    yield
    thread.join()


def written_by_child(file: Path, forked: threading.Event) -> bool:
    """Whether a process that is forked now can write."""
    pid = os.fork()
    if pid == 0:
        try:
            connection = sqlite3.connect(file, timeout=1.5, isolation_level=None)
            connection.execute("INSERT INTO numbers VALUES (1)")
        except sqlite3.Error:
            os._exit(1)
        os._exit(0)
    forked.set()
    return os.waitpid(pid, 0)[1] == 0


@pytest.fixture
def forked() -> threading.Event:
    return threading.Event()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "db.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE numbers (number)")
    connection.close()
    return path


def test_fork__waits_for_threads_in_the_gate(
    gate: forks.Gate, file: Path, forked: threading.Event
) -> None:
    with writing_thread(gate.entered(), file, forked, seconds=0.3):
        assert written_by_child(file, forked)


def test_fork__without_the_gate_finds_the_file_locked(file: Path, forked: threading.Event) -> None:
    with writing_thread(nullcontext(), file, forked, seconds=30):
        assert not written_by_child(file, forked)


def test_fork__does_not_wait_for_ever(
    gate: forks.Gate,
    file: Path,
    forked: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(forks, "FORK_WAIT_SECONDS", 0.05)
    with gate.entered():
        assert written_by_child(file, forked)
    assert "Restart the worker" in caplog.text


def test_gate__lets_no_thread_in_while_closed(gate: forks.Gate) -> None:
    entered = threading.Event()

    def enter() -> None:
        with gate.entered():
            entered.set()

    gate.close()
    thread = threading.Thread(target=enter)
    thread.start()
    assert not entered.wait(0.1)
    gate.open()
    assert entered.wait(5)
    thread.join()


def test_gate__of_a_forked_child_is_new(gate: forks.Gate) -> None:
    pid = os.fork()
    if pid == 0:
        with forks._gate.entered():
            os._exit(0 if forks._gate is not gate else 1)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.django_db(transaction=True)
def test_maintenance__runs_duties_in_the_gate(gate: forks.Gate) -> None:
    """On SQLite the duty leaves no connection open. On other databases the connection stays."""
    on_sqlite = connections[alias()].vendor == "sqlite"
    inside: list[int] = []

    def look() -> int:
        inside.append(gate._inside)
        return Operation.objects.count()

    Maintenance([Duty("look", 1, look)]).turn()
    assert (inside, gate._inside) == ([int(on_sqlite)], 0)
    assert (connections[alias()].connection is None) is on_sqlite
