"""The thread that tells those who wait: nothing ends it for good."""

import threading
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager
from typing import Any

import pytest
from django.db import connections
from django.db.utils import ConnectionHandler

from async_reply import notifications, services, watch
from async_reply.models import Operation, database
from tests.waiting import PATIENCE, in_thread, until

pytestmark = [pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "TICK_AFTER_ERROR", 0.01)


def waiter(operation: Operation, told: list[Any]) -> watch.Waiter:
    return watch.Waiter(operation.pk, operation.version, lambda row, shared: told.append(row))


def cancel(operation: Operation) -> None:
    with in_thread(lambda: services.cancel(operation)) as done:
        done.result()


def test_start__that_fails_leaves_nobody_behind(
    running: Operation, ticker: watch.Ticker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    ran: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError):
            ticker.call(lambda: ran.append("refused"))
        with pytest.raises(RuntimeError), ticker.watching(waiter(running, [])):
            pytest.fail("nobody is watching")
        assert (ticker.is_running, ticker.waiting) == (False, 0)
    ticker.call(lambda: ran.append("run")).result(PATIENCE)
    assert ran == ["run"]


def test_call__whose_code_exits_harms_nobody(running: Operation, ticker: watch.Ticker) -> None:
    def leave() -> None:
        raise SystemExit(1)

    told: list[Any] = []
    with ticker.watching(waiter(running, told)):
        thread = ticker._thread
        assert isinstance(ticker.call(leave).exception(PATIENCE), SystemExit)
        cancel(running)
        until(lambda: bool(told))
        assert ticker._thread is thread


def test_waiter__whose_code_exits_harms_nobody(running: Operation, ticker: watch.Ticker) -> None:
    def leave(row: Operation | None, shared: watch.Shared) -> None:
        raise SystemExit(1)

    told: list[Any] = []
    first = watch.Waiter(running.pk, running.version, leave)
    with ticker.watching(first), ticker.watching(waiter(running, told)):
        cancel(running)
        until(lambda: bool(told))


def test_attend__begins_anew_where_it_could_not(
    running: Operation, ticker: watch.Ticker, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[BaseException] = [RuntimeError("can't start new thread"), SystemExit()]
    listening = notifications.listening

    def fail(hint: notifications.Hint) -> AbstractContextManager[None]:
        if errors:
            raise errors.pop()
        return listening(hint)

    monkeypatch.setattr(notifications, "listening", fail)
    told: list[Any] = []
    with ticker.watching(waiter(running, told)):
        cancel(running)
        until(lambda: bool(told))


def test_attend__is_given_up_when_nobody_waits(
    ticker: watch.Ticker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(hint: notifications.Hint) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(notifications, "listening", fail)
    with ticker.watching(watch.Waiter(Operation().pk, 1, lambda row, shared: None)):
        assert ticker.is_running
    until(lambda: not ticker.is_running)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_run__whatever_ends_it_the_next_call_starts_anew(
    ticker: watch.Ticker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(step: Any) -> bool:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(ticker, "_guard", fail)
        lost = ticker.call(lambda: 1)
        until(lambda: not ticker.is_running)
    assert ticker.call(lambda: 2).result(PATIENCE) == 2
    assert lost.result(PATIENCE) == 1


def test_call__that_nobody_waits_for_any_more_is_left_out(
    ticker: watch.Ticker, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()
    ticker.call(lambda: gate.wait(PATIENCE))
    ran: list[int] = []
    late = ticker.call(lambda: ran.append(1))
    assert late.cancel()
    gate.set()
    assert ticker.call(lambda: 2).result(PATIENCE) == 2
    with pytest.raises(CancelledError):
        late.result()
    assert (ran, caplog.records) == ([], [])


def test_thread__leaves_no_connection_of_any_database(
    ticker: watch.Ticker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked for those who wait may read sessions or accounts from another one."""
    settings = {"default": connections[database()].settings_dict}
    other = ConnectionHandler({**settings, "other": dict(settings["default"])})
    monkeypatch.setattr(watch, "connections", other)
    opened: list[Any] = []

    def look() -> None:
        for alias in other:
            other[alias].ensure_connection()
            opened.append(other[alias])

    ticker.call(look).result(PATIENCE)
    until(lambda: not ticker.is_running)
    until(lambda: all(each.connection is None for each in opened))
    assert len(opened) == 2
