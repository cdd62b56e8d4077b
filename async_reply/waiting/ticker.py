"""Tells the clients that wait in this process that an operation has changed.

One thread does it for all of them; it runs only while somebody waits. A look is one statement for
all operations, over the thread's only database connection. A notification makes the thread read its
operation at once; a lost notification costs the time until the next look.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.db import Error, connections

from async_reply import conf
from async_reply.database import alias
from async_reply.logs import logger
from async_reply.models import Operation, OperationStep
from async_reply.notifications import announcements
from async_reply.status import FINAL, Status
from async_reply.waiting import versions
from async_reply.waiting.executor import close_connections

#: Seconds between two looks at the database, at least.
TICK_SECONDS = 0.05
#: The same if notifications announce changes.
TICK_NOTIFIED_SECONDS = 5.0
TICK_AFTER_ERROR_SECONDS = 0.5
#: The pause after a look is at least so many times as long as the quicker of the last two looks.
#: This spares the database, and one slow look delays no client.
PAUSE_PER_LOOK = 5
#: The pause is never longer, so that one slow look does not delay all clients for minutes.
MAX_PAUSE_SECONDS = 5.0
#: Seconds for which the thread stays when nobody waits any more.
IDLE_SECONDS = 1.0

#: Follow-up requests by their identity: waiters of one change share those that are the same.
SharedAnswers = MutableMapping[Hashable, Any]
#: Called in the ticker's thread, with columns of the row; None if the row is deleted.
Tell = Callable[[Operation | None, SharedAnswers], None]


class Waiter:
    """Wants to be told when the operation has a later version than `version`.

    A reader of the operation's log gives the number of the last event that its row had as `events`.
    It is told of later events and of the end, and of no version between.
    """

    __slots__ = ("events", "pk", "tell", "version")

    def __init__(self, pk: UUID, version: int, tell: Tell, *, events: int | None = None) -> None:
        self.pk = pk
        self.version = version
        self.tell = tell
        self.events = events

    def takes(self, row: Operation) -> bool:
        """Whether the row is news. Afterwards the waiter counts as told of it."""
        is_later = self.version < row.version
        self.version = max(self.version, row.version)
        if self.events is None:
            return is_later
        has_more = self.events < row.events
        self.events = max(self.events, row.events)
        return has_more or (is_later and has_ended(row))


class Ticker:
    """Looks at the operations that somebody waits for, and tells the waiters of changes."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiters: dict[UUID, set[Waiter]] = {}
        #: The oldest version among the waiters of each operation.
        self._versions: dict[UUID, int] = {}
        #: The same for the number of events, where readers of the log are among the waiters.
        self._events: dict[UUID, int] = {}
        self._readers: Counter[UUID] = Counter()
        #: The same for the next look; None if they have changed since the last one.
        self._seen: versions.Seen | None = None
        #: Operations to read before the next look; None stands for a look at all of them.
        self._hints: set[UUID | None] = set()
        self._thread: threading.Thread | None = None
        self._next_look_at = 0.0
        self._look_seconds = 0.0
        self._is_failing = False

    @property
    def is_running(self) -> bool:
        return self._thread is not None

    @property
    def waiting(self) -> int:
        """The number of waiters."""
        with self._changed:
            return sum(map(len, self._waiters.values()))

    @contextmanager
    def watching(self, waiter: Waiter) -> Iterator[None]:
        """During the block `waiter` is told of changes, also of those since it read its version."""
        with self._changed:
            self._start()  # first, since it may fail: then no waiter is left behind
            if conf.get("NOTIFY") is not None:
                # The next look may be far away, and the notification may have come before.
                self._add_hint(waiter.pk)
            self._waiters.setdefault(waiter.pk, set()).add(waiter)
            oldest = self._versions.get(waiter.pk, waiter.version)
            self._set(self._versions, waiter.pk, min(oldest, waiter.version))
            if waiter.events is not None:
                self._readers[waiter.pk] += 1
                oldest = self._events.get(waiter.pk, waiter.events)
                self._set(self._events, waiter.pk, min(oldest, waiter.events))
        try:
            yield
        finally:
            with self._changed:
                self._forget(waiter)

    def _forget(self, waiter: Waiter) -> None:
        pk = waiter.pk
        self._waiters[pk].discard(waiter)
        if waiter.events is not None:
            self._readers[pk] -= 1
            if not self._readers[pk]:
                del self._readers[pk], self._events[pk]
                self._seen = None
        if not self._waiters[pk]:
            del self._waiters[pk], self._versions[pk]
            self._seen = None

    def _set(self, numbers: dict[UUID, int], pk: UUID, number: int) -> None:
        if numbers.get(pk) != number:
            numbers[pk] = number
            self._seen = None

    def hint(self, pk: UUID | None, *, only_events: bool = False) -> None:
        """Read the operation at once if somebody waits for it; None: look at all operations.

        `only_events`: its events changed, and nothing else, so only readers of its log count.
        """
        with self._changed:
            if pk is None or pk in (self._events if only_events else self._waiters):
                self._add_hint(pk)

    def _add_hint(self, pk: UUID | None) -> None:
        self._hints.add(pk)
        self._changed.notify()

    def _start(self) -> None:
        if self._thread is None:
            self._next_look_at = 0.0
            thread = threading.Thread(target=self._run, name="async_reply", daemon=True)
            thread.start()
            self._thread = thread

    def _run(self) -> None:
        try:
            while not self._succeeds(self._serve) and self._is_needed():
                time.sleep(TICK_AFTER_ERROR_SECONDS)
        finally:
            close_connections()
            with self._changed:
                if self._thread is threading.current_thread():
                    self._thread = None

    def _is_needed(self) -> bool:
        """Whether somebody waits for this thread. If not, the next waiter starts another one."""
        with self._changed:
            is_current = self._thread is threading.current_thread()
            if is_current and not self._waiters:
                self._thread = None
                return False
            return is_current

    def _serve(self) -> None:
        """Serve waiters until there are none for IDLE_SECONDS."""
        with announcements.listening(self.hint):
            idle_since = time.monotonic()
            while True:
                with self._changed:
                    self._sleep()
                    if self._waiters:
                        idle_since = time.monotonic()
                    elif time.monotonic() - idle_since >= IDLE_SECONDS:
                        self._thread = None
                        # The first error after this pause is news again.
                        self._is_failing = False
                        break
                    hints, self._hints = self._hints, set()
                self._work(hints)

    def _sleep(self) -> None:
        """Return when there is a hint, the next look is due, or the thread may be idle."""
        if not self._hints:
            pause = min(IDLE_SECONDS, self._next_look_at - time.monotonic())
            self._changed.wait(max(0.0, pause))

    def _work(self, hints: set[UUID | None]) -> None:
        if None in hints or time.monotonic() >= self._next_look_at:
            self._succeeds(self._look)
        elif hints:
            self._succeeds(lambda: self._read({pk for pk in hints if pk is not None}))

    def _succeeds(self, step: Callable[[], None]) -> bool:
        """Whether `step` raised nothing. After an error comes a look at all operations.

        Nothing ends the thread, not even a SystemExit raised by the project's code. Only an error
        of the database is logged as one: a database router of the project may fail as well.
        """
        try:
            step()
        except BaseException as error:
            if isinstance(error, Error):
                level = logging.DEBUG if self._is_failing else logging.WARNING
                logger.log(level, "Waiting: a look at the database failed", exc_info=error)
            else:
                logger.exception("Waiting: the thread that looks for changes failed")
            self._is_failing = True
            self._next_look_at = time.monotonic() + TICK_AFTER_ERROR_SECONDS
            close_connections()
            return False
        self._is_failing = False
        return True

    def _look(self) -> None:
        """Find out which operations have changed, and tell their waiters."""
        with self._changed:
            if self._seen is None:
                self._seen = versions.Seen(self._versions, self._events)
            seen = self._seen
        if seen.versions:
            connections[alias()].ensure_connection()  # connecting is no part of the look
        started = time.monotonic()
        pks = versions.changed(seen) if seen.versions else set()
        ended = time.monotonic()
        previous_seconds, self._look_seconds = self._look_seconds, ended - started
        tick = TICK_SECONDS if conf.get("NOTIFY") is None else TICK_NOTIFIED_SECONDS
        pause = min(MAX_PAUSE_SECONDS, PAUSE_PER_LOOK * min(previous_seconds, self._look_seconds))
        self._next_look_at = ended + max(tick, pause)
        if pks:
            self._read(pks)

    def _read(self, pks: set[UUID]) -> None:
        """Read the rows, and tell each waiter to whom its row is news."""
        columns = "status", "version", "events", "expires_at", "pause"
        rows = Operation.objects.only(*columns).in_bulk(list(pks))
        for pk in pks:
            row: Operation | None = rows.get(pk)
            shared: SharedAnswers = {}
            for waiter in self._waiters_of_news(pk, row):
                try:
                    waiter.tell(row, shared)
                except BaseException:
                    logger.exception("Operation id=%s a waiter could not be told", pk)

    def _waiters_of_news(self, pk: UUID, row: Operation | None) -> list[Waiter]:
        """The waiters of `pk` to whom `row` is news. Now they count as told."""
        with self._changed:
            waiters = list(self._waiters.get(pk, ()))
            if row is None:
                return waiters
            behind = [waiter for waiter in waiters if waiter.takes(row)]
            if waiters:
                self._set(self._versions, pk, min(waiter.version for waiter in waiters))
            if pk in self._events:
                numbers = [waiter.events for waiter in waiters if waiter.events is not None]
                self._set(self._events, pk, min(numbers))
            return behind


ticker = Ticker()


def has_ended(row: Operation | None) -> bool:
    """Whether the wait is over: the operation has finished or is gone, or its owner is."""
    return row is None or row.status in FINAL or row.expires_at is not None


def is_news(row: Operation | None, *, known_version: int) -> bool:
    """Whether a client that waits is told: the wait is over, or the job asks.

    A client that knows this version of the row knows the question, and waits on.
    """
    return has_ended(row) or (row is not None and asks(row) and row.version != known_version)


def asks(row: Operation) -> bool:
    """Whether the job waits for an answer."""
    return row.status == Status.PENDING and row.pause == OperationStep.Sort.QUESTION
