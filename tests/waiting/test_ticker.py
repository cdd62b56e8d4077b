"""The thread that tells those who wait: nothing ends it for good."""

import threading
from contextlib import AbstractContextManager
from typing import Any

import pytest

from async_reply import services
from async_reply.models import Operation
from async_reply.notifications import announcements
from async_reply.notifications.base import Hint
from async_reply.waiting.ticker import Shared, Ticker, Waiter
from tests.concurrency import in_thread, until

pytestmark = [pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("async_reply.waiting.ticker.TICK_AFTER_ERROR", 0.01)


def waiter(operation: Operation, told: list[Any]) -> Waiter:
    return Waiter(operation.pk, operation.version, lambda row, shared: told.append(row))


def cancel(operation: Operation) -> None:
    with in_thread(lambda: services.cancel(operation)) as done:
        done.result()


def test_start__that_fails_leaves_nobody_behind(
    running: Operation, ticker: Ticker, monkeypatch: pytest.MonkeyPatch
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


def test_waiter__whose_code_exits_harms_nobody(running: Operation, ticker: Ticker) -> None:
    def leave(row: Operation | None, shared: Shared) -> None:
        raise SystemExit(1)

    told: list[Any] = []
    first = Waiter(running.pk, running.version, leave)
    with ticker.watching(first), ticker.watching(waiter(running, told)):
        cancel(running)
        until(lambda: bool(told))


def test_attend__begins_anew_where_it_could_not(
    running: Operation, ticker: Ticker, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[BaseException] = [RuntimeError("can't start new thread"), SystemExit()]
    listening = announcements.listening

    def fail(hint: Hint) -> AbstractContextManager[None]:
        if errors:
            raise errors.pop()
        return listening(hint)

    monkeypatch.setattr(announcements, "listening", fail)
    told: list[Any] = []
    with ticker.watching(waiter(running, told)):
        cancel(running)
        until(lambda: bool(told))


def test_attend__is_given_up_when_nobody_waits(
    ticker: Ticker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(hint: Hint) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(announcements, "listening", fail)
    with ticker.watching(Waiter(Operation().pk, 1, lambda row, shared: None)):
        assert ticker.is_running
    until(lambda: not ticker.is_running)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_run__whatever_ends_it_the_next_waiter_starts_anew(
    running: Operation, ticker: Ticker, monkeypatch: pytest.MonkeyPatch
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
