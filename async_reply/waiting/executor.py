"""The threads that ask Django for clients who wait, with a turn for each caller.

They are few and keep their database connections while there is something to ask. One caller never
has all of them, so that slow credentials of one caller do not hold up the answers to others.
"""

import contextvars
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from django.db import connections

from async_reply.waiting.fair_queue import Turns

#: How many threads of a process ask at most.
NUMBER = 2
#: Seconds for which a thread stays when there is nothing to ask.
LINGER = 1.0

Errand = tuple["Future[Any]", Callable[[], Any]]


class Askers:
    """Runs functions that use the database; each in a context of its own, as Django's requests."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._changed = threading.Condition()
        self._turns: Turns[Errand] = Turns(max(1, number - 1))
        self._queued = 0
        self._threads = 0
        self._idle = 0

    @property
    def are_running(self) -> bool:
        return self._threads > 0

    def call(self, caller: Hashable, function: Callable[[], Any]) -> "Future[Any]":
        """Run `function` when it is the caller's turn; a cancelled one is left out."""
        done: Future[Any] = Future()
        with self._changed:
            if self._queued >= self._idle and self._threads < self._number:
                self._start()
            self._turns.put([caller], (done, function))
            self._queued += 1
            self._changed.notify()
        return done

    def _start(self) -> None:
        """Where no thread can be started, those that run do the work, or the caller hears of it."""
        thread = threading.Thread(target=self._run, name="async_reply_ask", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if not self._threads:
                raise
        else:
            self._threads += 1

    def _run(self) -> None:
        try:
            while (taken := self._next()) is not None:
                caller, (done, function) = taken
                try:
                    _carry_out(done, function)
                finally:
                    with self._changed:
                        self._turns.done(caller)
                        self._changed.notify()
                del taken, done, function
        except BaseException:
            with self._changed:
                self._threads -= 1
            raise
        finally:
            disconnect()

    def _next(self) -> tuple[Hashable, Errand] | None:
        """The next thing to do; None when this thread is to end."""
        with self._changed:
            while (taken := self._turns.take()) is None:
                self._idle += 1
                notified = self._changed.wait(LINGER)
                self._idle -= 1
                if not notified and not self._turns:
                    self._threads -= 1
                    return None
            self._queued -= 1
            return taken


def _carry_out(done: "Future[Any]", function: Callable[[], Any]) -> None:
    """Nothing ends the thread, not even a SystemExit of the project's code."""
    if not done.set_running_or_notify_cancel():
        return
    try:
        done.set_result(contextvars.Context().run(function))
    except BaseException as error:  # noqa: BLE001 it is raised where the result is asked for
        done.set_exception(error)


def disconnect() -> None:
    """Close what this thread has opened: the project's code may have used other databases."""
    for connection in connections.all(initialized_only=True):
        with suppress(Exception):
            connection.close()


askers = Askers(NUMBER)
