"""How a running attempt keeps its lease, shows its progress and hears of its end."""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any
from uuid import UUID

from django.db import Error, connections, transaction

from async_reply import interrupts, lifecycle, outages, unpooled
from async_reply.exceptions import (
    ClaimLost,
    JobInterrupted,
    OperationCanceled,
    TimeLimitExceeded,
    WorkerStopping,
)
from async_reply.logs import logger
from async_reply.models import Operation, database
from async_reply.news import News, shown
from async_reply.status import ACTIVE, Status

TICK = 1.0
TICK_AFTER_ERROR = 0.5
#: Seconds between two looks at the row by a job that beats for itself.
INLINE_TICK = 0.05

Seen = dict[UUID, tuple[str, int]]
#: Seconds within which a worker says why it ends one of its processes: a stop, or a cancel.
ANNOUNCED_WITHIN = 2.0


class Claim:
    """An attempt's hold on its operation, shared by the job and whoever beats for it."""

    def __init__(self, operation: Operation, *, inline: bool, interrupt: bool = False) -> None:
        now = time.monotonic()
        self.operation = operation
        #: The process that may speak for the attempt. One that the job forks may not.
        self.pid = os.getpid()
        self.inline = inline
        #: Whether the thread cannot beat and the lease is about to end: the job has to.
        self.is_neglected = False
        self.interruption: type[JobInterrupted] | None = None
        #: Its process is being ended, and nobody says why: the attempt costs one of `max_losses`.
        self.is_lost = False
        self.target = interrupts.Target(self) if interrupt and not inline else None
        #: What the job told last: written by the job at each call, read once a tick.
        self.news: News | None = None
        self._shown: News | None = None
        #: By `time.monotonic()`: needs no database that could be away, or locked by the job.
        self.deadline = now + operation.time_limit
        self._renew_at = now + lifecycle.lease() / 3
        self._look_at = now

    def exposed(self) -> AbstractContextManager[None]:
        """While the job may be interrupted between its calls."""
        return nullcontext() if self.target is None else self.target.exposed()

    @property
    def wants_check(self) -> bool:
        """Whether a call of the job has to do more than to leave its news."""
        return (
            self.inline
            or self.interruption is not None
            or self.is_neglected
            or time.monotonic() >= self.deadline
        )

    def check(self, *, now: bool = False) -> None:
        """Raise what ended this attempt from outside, if anything did."""
        self.heed_clock()
        if self.inline and (now or time.monotonic() >= self._look_at) and os.getpid() == self.pid:
            self._look_at = time.monotonic() + INLINE_TICK
            self._beat_for_itself()
        elif self.is_neglected and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + TICK
            # Within a transaction of the job's nobody would see it.
            if not connections[database()].in_atomic_block:
                self._beat_for_itself()
        if self.interruption is not None:
            raise self.interruption

    def miss(self) -> None:
        """The thread could not beat: from two thirds of the lease on, the job does by itself."""
        self.is_neglected = time.monotonic() >= self._renew_at + lifecycle.lease() / 3

    def _beat_for_itself(self) -> None:
        """Beat in the job's thread, which hears nothing of a database that is away."""
        try:
            beat([self])
        except Error as error:
            if connections[database()].in_atomic_block or not outages.is_passing(error):
                raise
            logger.warning("Heartbeat failed, the job goes on: %s", error)

    def meaning(self, error: BaseException) -> BaseException:
        """What ended the job that raised `error`, where its pool ended the process.

        So end the processes of a worker that stops, of a job past Celery's time limit, and of one
        that an operator terminates. Where it was none of these the attempt is lost.
        """
        if not interrupts.ends_process(error):
            return error
        if self.inline:
            # No pool ends a process of its caller's: it is an error like others, or no news.
            return error if self.interruption is None else self.interruption()
        give_up = time.monotonic() + ANNOUNCED_WITHIN
        # A job that must not be repeated hears of no stop: it is lost.
        while self._hears_nothing() and not interrupts.stopping.is_set():
            if time.monotonic() >= give_up:
                break
            time.sleep(0.05)
        self.heed_clock()
        if self.interruption is not None:
            return self.interruption()
        self.is_lost = True
        operation, text = self.operation, "Operation id=%s kind=%s lost with its process"
        logger.warning(text, operation.pk, operation.kind)
        with suppress(Error):
            lifecycle.forfeit(operation.pk, worker=operation.worker, timed_out=False)
        return error

    def _hears_nothing(self) -> bool:
        self.heed_clock()
        if self.interruption is None:
            with suppress(Error):
                beat([self])
        return self.interruption is None

    @property
    def told(self) -> dict[str, Any]:
        """What the job told last, where the row does not show it yet."""
        news = self.news
        return {} if news is None or news == self._shown else shown(news)

    def heed_clock(self) -> None:
        """Hear what takes no database to know: that time is up, or that the worker stops."""
        if time.monotonic() >= self.deadline:
            if self.interruption in (None, WorkerStopping):
                self._interrupt(TimeLimitExceeded)
        elif (
            self.interruption is None and interrupts.stopping.is_set() and self.operation.max_losses
        ):
            self._interrupt(WorkerStopping)
        if self.interruption is not None and self.target is not None:
            self.target.hit()

    def beat(self, seen: Seen) -> None:
        """Compare with the row as `seen`; write when there is news or the lease wants renewal.

        It waits for nobody who has locked the row, the job itself above all: other claims want
        their leases renewed, and this one wants to hear of its end.
        """
        status, attempt = seen.get(self.operation.pk, ("", 0))
        if attempt != self.operation.attempt or status not in ACTIVE:
            self._interrupt(ClaimLost)
            return
        if status == Status.CANCELING:
            self._interrupt(OperationCanceled)
        if self.news != self._shown or time.monotonic() >= self._renew_at:
            # Inline, it is the job's own connection that may hold the lock.
            with nullcontext() if self.inline else _locked(self.operation):
                self._renew()

    def _interrupt(self, interruption: type[JobInterrupted]) -> None:
        self.interruption = interruption
        if self.target is not None:
            self.target.hit()

    def _renew(self) -> None:
        news = self.news
        held = lifecycle.beat(self.operation, **self.told)
        self._shown = news
        if not held:
            self._interrupt(ClaimLost)
        self._renew_at = time.monotonic() + lifecycle.lease() / 3
        self.is_neglected = False


@contextmanager
def _locked(operation: Operation) -> Iterator[None]:
    """In a transaction that holds the row; OperationalError where somebody else does."""
    with transaction.atomic(using=database()):
        if connections[database()].features.has_select_for_update_nowait:
            rows = Operation.objects.filter(pk=operation.pk).values_list("pk")
            bool(rows.select_for_update(nowait=True))
        yield


def disconnect() -> None:
    """Close this thread's connection, which may be broken in a way that even this raises."""
    with suppress(Exception):
        connections[database()].close()


def beat(claims: list[Claim]) -> None:
    """One look at the rows of `claims`, then what each of them has to write."""
    rows = Operation.objects.filter(pk__in=[claim.operation.pk for claim in claims])
    seen = {
        pk: (status, attempt) for pk, status, attempt in rows.values_list("pk", "status", "attempt")
    }
    failed: Error | None = None
    for claim in claims:
        try:
            claim.beat(seen)
        except Error as error:
            failed = error
    if failed is not None:
        raise failed


class Ticker:
    """One thread that beats for all claims of this process; it sleeps while there are none."""

    def __init__(self) -> None:
        self._claims: list[Claim] = []
        self._is_failing = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, claim: Claim) -> None:
        with self._changed:
            self._claims.append(claim)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._run, name="async_reply-heartbeat", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def remove(self, claim: Claim) -> None:
        with self._changed:
            self._claims.remove(claim)

    def _run(self) -> None:
        unpooled.leave_pool()
        pause = TICK
        while True:
            with self._changed:
                while not self._claims:
                    self._is_failing = False
                    disconnect()
                    self._changed.wait()
            time.sleep(pause)
            pause = self._tick()

    def _tick(self) -> float:
        """One beat for all; the seconds until the next."""
        with self._changed:
            claims = list(self._claims)
        for claim in claims:
            claim.heed_clock()
        try:
            if claims:
                beat(claims)
        except Exception as error:  # noqa: BLE001 a heartbeat outlives whatever a database does
            disconnect()
            level = logging.DEBUG if self._is_failing else logging.WARNING
            logger.log(level, "Heartbeat failed, it is tried again: %s", error)
            self._is_failing = True
            for claim in claims:
                claim.miss()
            return TICK_AFTER_ERROR
        self._is_failing = False
        return TICK


_ticker = Ticker()


def _forget_parent() -> None:
    """A forked child has none of its parent's threads."""
    global _ticker
    _ticker = Ticker()


os.register_at_fork(after_in_child=_forget_parent)


@contextmanager
def hold(operation: Operation, *, inline: bool, interrupt: bool = False) -> Iterator[Claim]:
    """Keep the claim alive in a thread; `inline`, at each of the job's calls instead.

    With `interrupt` the job is also told between its calls, where it runs in the main thread.
    """
    claim = Claim(operation, inline=inline, interrupt=interrupt)
    if inline:
        yield claim
        return
    ticker = _ticker
    ticker.add(claim)
    try:
        yield claim
    finally:
        ticker.remove(claim)
