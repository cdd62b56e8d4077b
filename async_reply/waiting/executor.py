"""Runs follow-up requests in a few threads, with a turn for each caller.

The threads keep their database connections while there is work. One caller never has all threads,
so slow credentials of one caller do not delay the answers to others.
"""

import contextvars
import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

from django.db import connections

from async_reply.waiting.fair_queue import FairQueue

#: Threads of a process.
MAX_THREADS = 2
#: Seconds after which a thread without work ends.
IDLE_SECONDS = 1.0
THREAD_NAME = "async_reply_ask"

Work = tuple["Future[Any]", Callable[[], Any]]


class FairExecutor:
    """Runs functions that use the database, each in a context of its own."""

    def __init__(self, max_threads: int) -> None:
        self._max_threads = max_threads
        self._changed = threading.Condition()
        self._queue: FairQueue[Work] = FairQueue(max(1, max_threads - 1))
        self._queued = 0
        self._threads = 0
        self._idle = 0

    @property
    def is_running(self) -> bool:
        return self._threads > 0

    def submit(
        self,
        caller: Hashable,
        function: Callable[[], Any],
        *,
        turns: Sequence[Hashable] = (),
        context: contextvars.Context | None = None,
    ) -> "Future[Any]":
        """Run `function` when the caller has its turn; not at all if the future is cancelled.

        `turns` is the rest of the caller's path in the FairQueue. The function runs in `context`,
        or else in an empty one. Raises RuntimeError if no thread runs and none can be started.
        """
        run = (contextvars.Context() if context is None else context).run
        future: Future[Any] = Future()
        with self._changed:
            # At its limit the caller gets the next thread that has done a work of the caller.
            has_turn = self._queue.has_turn(caller)
            if has_turn and self._queued >= self._idle and self._threads < self._max_threads:
                self._start()
            self._queue.put([caller, *turns], (future, partial(run, function)))
            self._queued += 1
            if has_turn:
                self._changed.notify()
        return future

    def _start(self) -> None:
        """Start a thread; if that fails, the threads that already run do the work."""
        thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
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
                caller, (future, function) = taken
                try:
                    _run_into(future, function)
                finally:
                    with self._changed:
                        self._queue.done(caller)
                del taken, future, function
        except BaseException:
            with self._changed:
                self._threads -= 1
            raise
        finally:
            close_connections()

    def _next(self) -> tuple[Hashable, Work] | None:
        """The next caller and its work; None if this thread is to end."""
        with self._changed:
            while (taken := self._queue.take()) is None:
                self._idle += 1
                is_notified = self._changed.wait(IDLE_SECONDS)
                self._idle -= 1
                if not is_notified and not self._queue:
                    self._threads -= 1
                    return None
            self._queued -= 1
            return taken


def _run_into(future: "Future[Any]", function: Callable[[], Any]) -> None:
    """Give the future the function's result or its error, which is raised for the caller.

    Not even a SystemExit raised by the project's code ends this thread.
    """
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function())
    except BaseException as error:  # noqa: BLE001 the future raises it
        future.set_exception(error)


def close_connections() -> None:
    """Close all connections of this thread: the project's code may have used several databases."""
    for connection in connections.all(initialized_only=True):
        with suppress(Exception):
            connection.close()


executor = FairExecutor(MAX_THREADS)
