"""The threads that ask Django: a turn for each caller, and nothing ends them for good."""

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
from async_reply.waiting.executor import Askers
from tests.concurrency import PATIENCE, until

pytestmark = [pytest.mark.django_db(transaction=True)]

ADA, EVE = ("owner", "ada"), ("owner", "eve")


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> Iterator[Askers]:
    monkeypatch.setattr(executor, "LINGER", 0.05)
    made = Askers(2)
    yield made
    until(lambda: not made.are_running)


class Gate:
    """A slow question, and those that ask it."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.opened = threading.Event()

    def __call__(self) -> None:
        self.asked.release()
        assert self.opened.wait(PATIENCE)


def test_call__one_caller_never_has_all_threads(asking: Askers) -> None:
    gate = Gate()
    slow = [asking.call(EVE, gate) for _ in range(5)]
    assert gate.asked.acquire(timeout=PATIENCE)
    assert asking.call(ADA, lambda: "ada").result(PATIENCE) == "ada"
    assert not gate.asked.acquire(blocking=False)
    gate.opened.set()
    assert [each.result(PATIENCE) for each in slow] == [None] * 5


def test_call__callers_have_a_turn_each(asking: Askers) -> None:
    """Though the first of them has asked all there is before the others come."""
    gate, done = Gate(), list[str]()
    blocked = [asking.call(name, gate) for name in ("x", "y")]
    for _ in blocked:
        assert gate.asked.acquire(timeout=PATIENCE)
    asked = [asking.call(EVE, lambda: done.append("eve")) for _ in range(20)]
    asked += [asking.call(ADA, lambda: done.append("ada")) for _ in range(2)]
    gate.opened.set()
    for each in asked:
        each.result(PATIENCE)
    assert max(place for place, name in enumerate(done) if name == "ada") <= 5


def test_call__runs_in_a_context_of_its_own(asking: Askers) -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="none")
    seen: list[str] = []

    def look() -> None:
        seen.append(tenant.get())
        tenant.set("somebody's")

    for _ in range(3):
        asking.call(ADA, look).result(PATIENCE)
    assert seen == ["none"] * 3


def test_call__whose_code_exits_harms_nobody(asking: Askers) -> None:
    def leave() -> None:
        raise SystemExit(1)

    assert isinstance(asking.call(ADA, leave).exception(PATIENCE), SystemExit)
    assert asking.call(ADA, lambda: 2).result(PATIENCE) == 2


def test_call__that_nobody_waits_for_any_more_is_left_out(asking: Askers) -> None:
    gate, ran = Gate(), list[int]()
    asking.call(ADA, gate)
    late = asking.call(ADA, lambda: ran.append(1))
    assert late.cancel()
    gate.opened.set()
    assert asking.call(ADA, lambda: 2).result(PATIENCE) == 2
    with pytest.raises(CancelledError):
        late.result()
    assert ran == []


def test_start__that_fails_is_told_and_tried_anew(
    asking: Askers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    ran: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError):
            asking.call(ADA, lambda: ran.append("refused"))
    asking.call(ADA, lambda: ran.append("run")).result(PATIENCE)
    assert ran == ["run"]


def test_start__of_a_second_thread_that_fails_leaves_the_work_to_the_first(
    asking: Askers, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    asking.call(EVE, gate)
    assert gate.asked.acquire(timeout=PATIENCE)

    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        asked: Future[int] = asking.call(ADA, lambda: 1)
    gate.opened.set()
    assert asked.result(PATIENCE) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_run__whatever_ends_it_the_next_call_starts_anew(
    asking: Askers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(done: Any, function: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(executor, "_carry_out", fail)
        asking.call(ADA, lambda: 1)
        until(lambda: not asking.are_running)
    assert asking.call(ADA, lambda: 2).result(PATIENCE) == 2


def test_thread__leaves_no_connection_of_any_database(
    asking: Askers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked for those who wait may read sessions or accounts from another one."""
    settings = {"default": connections[alias()].settings_dict}
    other = ConnectionHandler({**settings, "other": dict(settings["default"])})
    monkeypatch.setattr(executor, "connections", other)
    opened: list[Any] = []

    def look() -> None:
        for name in other:
            other[name].ensure_connection()
            opened.append(other[name])

    asking.call(ADA, look).result(PATIENCE)
    until(lambda: not asking.are_running)
    until(lambda: all(each.connection is None for each in opened))
    assert len(opened) == 2
