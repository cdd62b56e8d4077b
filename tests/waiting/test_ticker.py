"""The thread that tells waiters of changes: how often it looks, and what it does after errors."""

import logging
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from pytest_django import Settings

from async_reply import services
from async_reply.models import Operation
from async_reply.notifications import announcements
from async_reply.notifications.base import OnChange
from async_reply.waiting import ticker as ticker_module
from async_reply.waiting import versions
from async_reply.waiting.ticker import SharedAnswers, Ticker, Waiter
from tests.concurrency import in_thread, until

pytestmark = [pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def _short_pause_after_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("async_reply.waiting.ticker.TICK_AFTER_ERROR_SECONDS", 0.01)


def waiter(operation: Operation, rows: list[Any]) -> Waiter:
    return Waiter(operation.pk, operation.version, lambda row, shared: rows.append(row))


def cancel(operation: Operation) -> None:
    with in_thread(lambda: services.cancel(operation)) as canceled:
        canceled.result()


def test_start__failure_leaves_no_waiter_behind(
    running: Operation, ticker: Ticker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError), ticker.watching(waiter(running, [])):
            pytest.fail("nothing is watched")
        assert (ticker.is_running, ticker.waiting) == (False, 0)
    rows: list[Any] = []
    with ticker.watching(waiter(running, rows)):
        cancel(running)
        until(lambda: bool(rows))


class Clock:
    """A monotonic clock that moves only when a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    with monkeypatch.context() as patched:
        patched.setattr(ticker_module, "time", clock)
        yield clock


@pytest.mark.parametrize(
    ("target", "looks", "pause"),
    [
        (None, [0.0, 0.0], 0.05),
        (None, [0.009, 0.009], 0.05),
        (None, [0.023, 0.04], 0.115),
        (None, [0.04, 0.023], 0.115),
        (None, [20.0], 0.05),
        (None, [20.0, 20.0], 5.0),
        ("postgresql", [0.023, 0.023], 5.0),
        ("postgresql", [20.0, 20.0], 5.0),
    ],
)
def test_look__pause_is_five_times_the_quicker_of_two_looks_between_a_tick_and_five_seconds(
    clock: Clock,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    target: str | None,
    looks: list[float],
    pause: float,
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "NOTIFY": target}
    seconds = iter(looks)

    def look(seen: versions.Seen) -> set[Any]:
        clock.now += next(seconds)
        return set()

    monkeypatch.setattr(versions, "changed", look)
    ticker = Ticker()
    ticker._versions = {Operation().pk: 1}
    for _ in looks:
        ticker._look()
    assert ticker._next_look_at - clock.now == pytest.approx(pause)


def test_look__keeps_its_parameters_while_the_versions_stay_the_same(
    running: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[versions.Seen] = []

    def look(seen: versions.Seen) -> set[Any]:
        looks.append(seen)
        return set()

    monkeypatch.setattr(versions, "changed", look)
    ticker, other = Ticker(), Operation()
    monkeypatch.setattr(ticker, "_start", lambda: None)
    with ticker.watching(waiter(running, [])):
        ticker._look()
        with ticker.watching(waiter(running, [])):
            ticker._look()
        ticker._look()
        assert looks[0] is looks[1] is looks[2]
        with ticker.watching(Waiter(other.pk, 1, lambda row, shared: None)):
            ticker._look()
            assert looks[3].versions == {running.pk: running.version, other.pk: 1}
        with ticker.watching(Waiter(running.pk, 0, lambda row, shared: None)):
            ticker._look()
            assert looks[4].versions == {running.pk: 0}
            ticker._read({running.pk})
            ticker._look()
        assert looks[5].versions == {running.pk: running.version}
    ticker._look()
    assert len(looks) == 6


def test_look__connecting_and_telling_waiters_do_not_lengthen_the_pause(
    clock: Clock, running: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    connects: list[Any] = []

    def connect(connection: Any) -> None:
        """Only the first connect takes time: each statement asks for a connection as well."""
        clock.now += 0.0 if connects else 3.0
        connects.append(connection)

    def tell(row: Operation | None, shared: SharedAnswers) -> None:
        clock.now += 3.0

    monkeypatch.setattr(BaseDatabaseWrapper, "ensure_connection", connect)
    ticker = Ticker()
    ticker._waiters = {running.pk: {Waiter(running.pk, running.version - 1, tell)}}
    ticker._versions = {running.pk: running.version - 1}
    ticker._look()
    assert clock.now == pytest.approx(1006.0)
    assert ticker._next_look_at == pytest.approx(clock.now - 3.0 + 0.05)


def test_work__looks_when_it_is_due_or_all_operations_are_hinted_at(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint at all of them comes after a listener has connected anew."""
    ticker, operation = Ticker(), Operation()
    done: list[Any] = []
    monkeypatch.setattr(ticker, "_look", lambda: done.append("look"))
    monkeypatch.setattr(ticker, "_read", done.append)
    ticker._next_look_at = clock.now + 1.0
    ticker._work(set())
    assert done == []
    ticker._work({operation.pk})
    ticker._work({operation.pk, None})
    clock.now += 1.0
    ticker._work({operation.pk})
    assert done == [{operation.pk}, "look", "look"]


def test_waiter__that_exits_does_not_harm_others(running: Operation, ticker: Ticker) -> None:
    def leave(row: Operation | None, shared: SharedAnswers) -> None:
        raise SystemExit(1)

    rows: list[Any] = []
    first = Waiter(running.pk, running.version, leave)
    with ticker.watching(first), ticker.watching(waiter(running, rows)):
        cancel(running)
        until(lambda: bool(rows))


def warnings(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


LOOK = "Waiting: a look at the database failed"
THREAD = "Waiting: the thread that looks for changes failed"
TELL = "Operation id={pk} a waiter could not be told"


@pytest.mark.parametrize("error", [ZeroDivisionError, OperationalError, SystemExit])
def test_log__error_of_a_waiter_is_no_failed_look(
    running: Operation,
    ticker: Ticker,
    caplog: pytest.LogCaptureFixture,
    error: type[BaseException],
) -> None:
    def fail(row: Operation | None, shared: SharedAnswers) -> None:
        raise error

    rows: list[Any] = []
    first = Waiter(running.pk, running.version, fail)
    with ticker.watching(first), ticker.watching(waiter(running, rows)):
        cancel(running)
        until(lambda: TELL.format(pk=running.pk) in caplog.text and bool(rows))
    (record,) = warnings(caplog)
    assert (record.levelname, record.exc_info is None) == ("ERROR", False)
    assert error.__name__ in caplog.text


@pytest.mark.parametrize(
    ("error", "level", "message"),
    [
        (OperationalError, "WARNING", LOOK),
        (ZeroDivisionError, "ERROR", THREAD),
        (SystemExit, "ERROR", THREAD),
    ],
)
def test_log__only_an_error_of_the_database_is_a_failed_look(
    running: Operation,
    ticker: Ticker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: type[BaseException],
    level: str,
    message: str,
) -> None:
    """A look runs code of the project: its database router, and wrappers around its statements."""
    errors, changed = [error], versions.changed

    def fail_once(seen: versions.Seen) -> set[Any]:
        if errors:
            raise errors.pop()
        return changed(seen)

    monkeypatch.setattr(versions, "changed", fail_once)
    monkeypatch.setattr(ticker, "_is_failing", False)  # an earlier test may have left it failing
    rows: list[Any] = []
    with ticker.watching(waiter(running, rows)):
        cancel(running)
        # A hint may tell the waiter before the first look.
        until(lambda: bool(rows and warnings(caplog)))
    # A look that SQLite itself refuses, since a writer has the lock, may be logged as well.
    logged = {(record.levelname, record.message) for record in warnings(caplog)}
    assert (level, message) in logged
    assert logged <= {(level, message), ("WARNING", LOOK)}


def test_serve__starts_again_after_a_listener_could_not_start(
    running: Operation,
    ticker: Ticker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    errors: list[BaseException] = [RuntimeError("can't start new thread"), SystemExit()]
    listening = announcements.listening

    def fail(on_change: OnChange) -> AbstractContextManager[None]:
        if errors:
            raise errors.pop()
        return listening(on_change)

    monkeypatch.setattr(announcements, "listening", fail)
    rows: list[Any] = []
    with ticker.watching(waiter(running, rows)):
        cancel(running)
        until(lambda: bool(rows))
    assert [record.message for record in warnings(caplog)] == [THREAD, THREAD]


def test_serve__gives_up_when_nobody_waits(ticker: Ticker, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(on_change: OnChange) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(announcements, "listening", fail)
    with ticker.watching(Waiter(Operation().pk, 1, lambda row, shared: None)):
        assert ticker.is_running
    until(lambda: not ticker.is_running)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_run__after_any_error_the_next_waiter_starts_a_thread(
    running: Operation, ticker: Ticker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(step: Any) -> bool:
        raise MemoryError

    rows: list[Any] = []
    with ticker.watching(waiter(running, rows)):
        with monkeypatch.context() as patched:
            patched.setattr(ticker, "_succeeds", fail)
            until(lambda: not ticker.is_running)
        with ticker.watching(waiter(running, [])):
            cancel(running)
            until(lambda: bool(rows))
