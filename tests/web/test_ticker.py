"""The thread that tells those who wait: nothing ends it for good."""

import threading
from contextlib import AbstractContextManager
from typing import Any

import pytest

from async_reply import notifications, services, watch
from async_reply.models import Operation
from tests.waiting import in_thread, until

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

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError), ticker.watching(waiter(running, [])):
            pytest.fail("nobody is watching")
        assert (ticker.is_running, ticker.waiting) == (False, 0)
    told: list[Any] = []
    with ticker.watching(waiter(running, told)):
        cancel(running)
        until(lambda: bool(told))


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
def test_run__whatever_ends_it_the_next_waiter_starts_anew(
    running: Operation, ticker: watch.Ticker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(step: Any) -> bool:
        raise MemoryError

    told: list[Any] = []
    with ticker.watching(waiter(running, told)):
        with monkeypatch.context() as patched:
            patched.setattr(ticker, "_guard", fail)
            until(lambda: not ticker.is_running)
        with ticker.watching(waiter(running, [])):
            cancel(running)
            until(lambda: bool(told))
