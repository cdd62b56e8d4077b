"""A process forked beside threads: it must not inherit what they have locked in SQLite."""

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

# What newer Pythons say of such forks is what this is about.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> forks.Gate:
    fresh = forks.Gate()
    monkeypatch.setattr(forks, "_gate", fresh)
    return fresh


@contextmanager
def busy(
    gate: AbstractContextManager[None], file: Path, forked: threading.Event, *, seconds: float
) -> Iterator[None]:
    """A thread that holds the file's write lock behind `gate`: so long, or until the fork."""
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
    """Whether a process that is forked now can write, a second after the thread has."""
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


def test_fork__waits_for_threads_behind_the_gate(
    gate: forks.Gate, file: Path, forked: threading.Event
) -> None:
    with busy(gate.entered(), file, forked, seconds=0.3):
        assert written_by_child(file, forked)


def test_fork__beside_a_writing_thread_finds_the_file_locked_for_good(
    file: Path, forked: threading.Event
) -> None:
    with busy(nullcontext(), file, forked, seconds=30):
        assert not written_by_child(file, forked)


def test_fork__goes_on_beside_a_thread_that_hangs(
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


def test_fork__keeps_threads_out(gate: forks.Gate) -> None:
    passed = threading.Event()

    def enter() -> None:
        with gate.entered():
            passed.set()

    gate.close()
    thread = threading.Thread(target=enter)
    thread.start()
    assert not passed.wait(0.1)
    gate.open()
    assert passed.wait(5)
    thread.join()


def test_forked__child_has_a_gate_of_its_own(gate: forks.Gate) -> None:
    pid = os.fork()
    if pid == 0:
        with forks._gate.entered():
            os._exit(0 if forks._gate is not gate else 1)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.django_db(transaction=True)
def test_maintenance__runs_its_steps_behind_the_gate(gate: forks.Gate) -> None:
    """On SQLite, without a connection left open; elsewhere it keeps its connection."""
    on_sqlite = connections[alias()].vendor == "sqlite"
    inside: list[int] = []

    def look() -> int:
        inside.append(gate._inside)
        return Operation.objects.count()

    Maintenance([Duty("look", 1, look)]).turn()
    assert (inside, gate._inside) == ([int(on_sqlite)], 0)
    assert (connections[alias()].connection is None) is on_sqlite
