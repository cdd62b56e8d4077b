"""The threads that run follow-up requests: callers take turns, and nothing ends the threads."""

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from contextvars import ContextVar
from typing import Any

import pytest
from django.db import connections
from django.db.utils import ConnectionHandler

from async_reply.database import alias
from async_reply.waiting import executor
from async_reply.waiting.executor import FairExecutor
from tests.concurrency import PATIENCE, until

pytestmark = [pytest.mark.django_db(transaction=True)]

ADA, EVE = ("owner", "ada"), ("owner", "eve")


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[FairExecutor]:
    """An executor with two threads."""
    monkeypatch.setattr(executor, "IDLE_SECONDS", 0.05)
    fair_executor = FairExecutor(2)
    yield fair_executor
    until(lambda: not fair_executor.is_running)


class Gate:
    """A function that runs until the gate is opened."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.opened = threading.Event()

    def __call__(self) -> None:
        self.entered.release()
        assert self.opened.wait(PATIENCE)


def fail_to_start(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_submit__one_caller_never_has_all_threads(threads: FairExecutor) -> None:
    gate = Gate()
    slow = [threads.submit(EVE, gate) for _ in range(5)]
    assert gate.entered.acquire(timeout=PATIENCE)
    assert threads.submit(ADA, lambda: "ada").result(PATIENCE) == "ada"
    assert not gate.entered.acquire(blocking=False)
    gate.opened.set()
    assert [future.result(PATIENCE) for future in slow] == [None] * 5


def test_submit__starts_no_thread_for_a_caller_at_its_limit(threads: FairExecutor) -> None:
    gate = Gate()
    slow = [threads.submit(EVE, gate)]
    assert gate.entered.acquire(timeout=PATIENCE)
    slow += [threads.submit(EVE, gate) for _ in range(4)]
    number = threads._threads
    gate.opened.set()
    assert [future.result(PATIENCE) for future in slow] == [None] * 5
    assert number == 1


def test_submit__callers_take_turns(threads: FairExecutor) -> None:
    """Also if the first caller has submitted everything before the others come."""
    gate, names = Gate(), list[str]()
    blocking = [threads.submit(name, gate) for name in ("x", "y")]
    for _ in blocking:
        assert gate.entered.acquire(timeout=PATIENCE)
    futures = [threads.submit(EVE, lambda: names.append("eve")) for _ in range(20)]
    futures += [threads.submit(ADA, lambda: names.append("ada")) for _ in range(2)]
    gate.opened.set()
    for future in futures:
        future.result(PATIENCE)
    assert max(place for place, name in enumerate(names) if name == "ada") <= 5


def test_submit__runs_in_an_empty_context(threads: FairExecutor) -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="none")
    tenants: list[str] = []

    def look() -> None:
        tenants.append(tenant.get())
        tenant.set("somebody's")

    for _ in range(3):
        threads.submit(ADA, look).result(PATIENCE)
    assert tenants == ["none"] * 3


def test_submit__function_that_exits_ends_no_thread(threads: FairExecutor) -> None:
    def leave() -> None:
        raise SystemExit(1)

    assert isinstance(threads.submit(ADA, leave).exception(PATIENCE), SystemExit)
    assert threads.submit(ADA, lambda: 2).result(PATIENCE) == 2


def test_submit__cancelled_function_does_not_run(threads: FairExecutor) -> None:
    gate, runs = Gate(), list[int]()
    threads.submit(ADA, gate)
    cancelled = threads.submit(ADA, lambda: runs.append(1))
    assert cancelled.cancel()
    gate.opened.set()
    assert threads.submit(ADA, lambda: 2).result(PATIENCE) == 2
    with pytest.raises(CancelledError):
        cancelled.result()
    assert runs == []


def test_start__failure_is_raised_and_the_next_submit_tries_again(
    threads: FairExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail_to_start)
        with pytest.raises(RuntimeError):
            threads.submit(ADA, lambda: runs.append("refused"))
    threads.submit(ADA, lambda: runs.append("run")).result(PATIENCE)
    assert runs == ["run"]


def test_start__failure_of_a_second_thread_leaves_the_work_to_the_first(
    threads: FairExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    threads.submit(EVE, gate)
    assert gate.entered.acquire(timeout=PATIENCE)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail_to_start)
        future: Future[int] = threads.submit(ADA, lambda: 1)
    gate.opened.set()
    assert future.result(PATIENCE) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_run__after_any_error_the_next_submit_starts_a_thread(
    threads: FairExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(future: Any, function: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(executor, "_run_into", fail)
        threads.submit(ADA, lambda: 1)
        until(lambda: not threads.is_running)
    assert threads.submit(ADA, lambda: 2).result(PATIENCE) == 2


def test_thread__closes_its_connections_to_all_databases(
    threads: FairExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A follow-up request may read sessions or accounts from another database."""
    settings = {"default": connections[alias()].settings_dict}
    databases = ConnectionHandler({**settings, "other": dict(settings["default"])})
    monkeypatch.setattr(executor, "connections", databases)
    opened: list[Any] = []

    def connect() -> None:
        for name in databases:
            databases[name].ensure_connection()
            opened.append(databases[name])

    threads.submit(ADA, connect).result(PATIENCE)
    until(lambda: not threads.is_running)
    until(lambda: all(database.connection is None for database in opened))
    assert len(opened) == 2
