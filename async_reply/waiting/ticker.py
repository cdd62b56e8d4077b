"""Telling those who wait: one thread for all of a process, and none while nobody waits.

A tick is one statement, whatever the number of waiters; it holds the thread's only database
connection. Notifications make it look at once; one that is lost costs a tick's time.
"""

import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.db import Error

from async_reply import conf
from async_reply.logs import logger
from async_reply.models import Operation
from async_reply.notifications import announcements
from async_reply.status import FINAL
from async_reply.waiting.executor import disconnect
from async_reply.waiting.versions import Lookout, Versions

#: Seconds between two looks at the database.
TICK = 0.1
#: The same where notifications announce what changes.
TICK_NOTIFIED = 5.0
TICK_AFTER_ERROR = 0.5
#: Seconds for which the thread stays when the last has gone.
LINGER = 1.0

#: What the waiters of one change ask of Django, for the others who ask the same.
Shared = MutableMapping[Hashable, Any]
#: Called in the ticker's thread with status and version as they are now; None for no row any more.
Tell = Callable[[Operation | None, Shared], None]


class Waiter:
    """Somebody who wants to be told when an operation is no longer at `version`."""

    __slots__ = ("pk", "tell", "version")

    def __init__(self, pk: UUID, version: int, tell: Tell) -> None:
        self.pk = pk
        self.version = version
        self.tell = tell


class Ticker:
    """Looks at the rows that somebody waits for, and tells them of a new version."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiters: dict[UUID, set[Waiter]] = {}
        #: The oldest version that a waiter of each operation knows.
        self._known: Versions = {}
        #: A copy that is not written to; None once the above has changed.
        self._asked: Versions | None = None
        self._doubtful: set[UUID] = set()
        self._lookout = Lookout()
        self._thread: threading.Thread | None = None
        self._due = 0.0
        self._failing = False

    @property
    def is_running(self) -> bool:
        return self._thread is not None

    @property
    def waiting(self) -> int:
        """How many wait."""
        with self._changed:
            return sum(map(len, self._waiters.values()))

    @contextmanager
    def watching(self, waiter: Waiter) -> Iterator[None]:
        """Until the end of the block `waiter` is told of changes, those since it read included."""
        with self._changed:
            self._start()  # first: nobody is left behind where it fails
            if conf.get("NOTIFY") is not None:
                self._doubt(waiter.pk)
            self._waiters.setdefault(waiter.pk, set()).add(waiter)
            known = self._known.setdefault(waiter.pk, waiter.version)
            self._known[waiter.pk] = min(known, waiter.version)
            self._asked = None
        try:
            yield
        finally:
            with self._changed:
                self._waiters[waiter.pk].discard(waiter)
                if not self._waiters[waiter.pk]:
                    del self._waiters[waiter.pk], self._known[waiter.pk]
                    self._asked = None

    def hint(self, pk: UUID | None) -> None:
        """Look at the row of `pk` now, if somebody waits for it; None: at all of them."""
        with self._changed:
            if pk is None:
                self._due = 0.0
                self._changed.notify()
            elif pk in self._waiters:
                self._doubt(pk)

    def _doubt(self, pk: UUID) -> None:
        self._doubtful.add(pk)
        self._changed.notify()

    def _start(self) -> None:
        if self._thread is None:
            self._due = 0.0
            thread = threading.Thread(target=self._run, name="async_reply", daemon=True)
            thread.start()
            self._thread = thread

    def _run(self) -> None:
        try:
            while not self._guard(self._attend) and self._is_wanted():
                time.sleep(TICK_AFTER_ERROR)
        finally:
            disconnect()
            with self._changed:
                if self._thread is threading.current_thread():
                    self._thread = None

    def _is_wanted(self) -> bool:
        """Whether anybody waits for this thread; else whoever comes starts another."""
        with self._changed:
            is_mine = self._thread is threading.current_thread()
            if is_mine and not self._waiters:
                self._thread = None
                return False
            return is_mine

    def _attend(self) -> None:
        """Serve those who wait until nobody does."""
        with announcements.listening(self.hint):
            idle_since = time.monotonic()
            while True:
                with self._changed:
                    self._sleep()
                    if self._waiters:
                        idle_since = time.monotonic()
                    elif time.monotonic() - idle_since >= LINGER:
                        self._thread = None
                        break
                    doubtful, self._doubtful = self._doubtful, set()
                self._turn(doubtful)

    def _sleep(self) -> None:
        """Until there is something to do, or the next tick is due."""
        if not self._doubtful:
            self._changed.wait(max(0.0, min(LINGER, self._due - time.monotonic())))

    def _turn(self, doubtful: set[UUID]) -> None:
        if time.monotonic() >= self._due:
            self._guard(self._tick)
        elif doubtful:
            self._guard(lambda: self._look(doubtful))

    def _guard(self, step: Callable[[], None]) -> bool:
        """Whether `step` went well. After an error all rows are looked at anew.

        Nothing ends the thread, not even a SystemExit of the project's code.
        """
        try:
            step()
        except BaseException as error:
            level = logging.DEBUG if self._failing else logging.WARNING
            if not isinstance(error, Error):
                level = logging.ERROR
            logger.log(level, "Waiting: a look at the database failed", exc_info=error)
            self._failing = True
            self._due = time.monotonic() + TICK_AFTER_ERROR
            disconnect()
            return False
        self._failing = False
        return True

    def _tick(self) -> None:
        self._due = time.monotonic() + (TICK if conf.get("NOTIFY") is None else TICK_NOTIFIED)
        with self._changed:
            asked = self._asked = self._asked or dict(self._known)
        if asked and (moved := self._lookout.moved(asked)):
            self._look(moved)

    def _look(self, pks: set[UUID]) -> None:
        """Read rows and tell their waiters what is new to them."""
        found = Operation.objects.only("status", "version", "expires_at").in_bulk(list(pks))
        for pk in pks:
            row: Operation | None = found.get(pk)
            shared: Shared = {}
            for waiter in self._behind(pk, row):
                try:
                    waiter.tell(row, shared)
                except BaseException:
                    logger.exception("Operation id=%s a waiter could not be told", pk)

    def _behind(self, pk: UUID, row: Operation | None) -> list[Waiter]:
        """The waiters of `pk` who do not know `row` yet; they count as told."""
        with self._changed:
            waiters = list(self._waiters.get(pk, ()))
            if row is None:
                return waiters
            behind = [waiter for waiter in waiters if waiter.version < row.version]
            for waiter in behind:
                waiter.version = row.version
            if waiters:
                self._known[pk] = min(waiter.version for waiter in waiters)
                self._asked = None
            return behind


ticker = Ticker()


def is_over(row: Operation | None) -> bool:
    """Whether there is nothing left to wait for: it has finished, or its owner was removed."""
    return row is None or row.status in FINAL or row.expires_at is not None
