"""An attempt's hold on its row: it renews the lease and hears why the attempt has to end."""

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any
from uuid import UUID

from django.db import Error, connections, transaction

from async_reply import lifecycle
from async_reply.attempts import interrupts
from async_reply.attempts.progress import News, shown
from async_reply.database import alias, errors
from async_reply.exceptions import (
    ClaimLost,
    JobInterrupted,
    OperationCanceled,
    TimeLimitExceeded,
    WorkerStopping,
)
from async_reply.logs import logger
from async_reply.models import Operation
from async_reply.status import ACTIVE, Status

Seen = dict[UUID, tuple[str, int]]


#: Seconds between two looks at the row by a job that beats for itself.
INLINE_TICK = 0.05


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
            if not connections[alias()].in_atomic_block:
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
            if connections[alias()].in_atomic_block or not errors.is_temporary(error):
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
            lifecycle.expire_lease(operation.pk, worker=operation.worker, timed_out=False)
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
    with transaction.atomic(using=alias()):
        if connections[alias()].features.has_select_for_update_nowait:
            rows = Operation.objects.filter(pk=operation.pk).values_list("pk")
            bool(rows.select_for_update(nowait=True))
        yield


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


TICK = 1.0
