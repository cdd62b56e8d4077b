"""A running attempt's hold on its row: renews the lease, and learns that the attempt has to end.

The thread in heartbeats.py calls `beat` for all claims of its process. A job that runs inline has
no such thread and beats at its own calls.

This module alone knows the rule of the lease. A lease is renewed after a third of its length. When
two thirds are over without a renewal, the job renews it itself at its next call.
"""

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

from django.db import Error, connections, transaction

from async_reply import lifecycle
from async_reply.attempts import interrupts
from async_reply.attempts.progress import Progress, columns
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

#: Seconds between two beats of the thread, and of a job that renews its lease itself.
BEAT_SECONDS = 1.0
#: Seconds between two beats of a job that runs inline.
INLINE_BEAT_SECONDS = 0.05
#: Seconds within which a worker says why it ends one of its processes: a stop, or a cancel.
REASON_SECONDS = 2.0


def renewal_seconds() -> float:
    """Seconds from one renewal of a lease to the next."""
    return lifecycle.lease() / 3


class Claim:
    """An attempt's hold on its operation, shared by the job's thread and the heartbeat's."""

    def __init__(self, operation: Operation, *, inline: bool, interrupt: bool = False) -> None:
        now = time.monotonic()
        self.operation = operation
        #: The process that may write for the attempt. A process that the job forks may not.
        self.pid = os.getpid()
        self.inline = inline
        #: Whether the thread could not beat and the lease ends soon: the job has to renew it.
        self.is_neglected = False
        self.interruption: type[JobInterrupted] | None = None
        #: Whether its process is being ended without a reason: this costs one of `max_losses`.
        self.is_lost = False
        self.interruptible = interrupts.InterruptibleJob(self) if interrupt and not inline else None
        #: The job sets it at each call. It is written once a beat.
        self.progress: Progress | None = None
        self._saved_progress: Progress | None = None
        #: By `time.monotonic()`: this clock needs no database, which may be away or locked.
        self.deadline = now + operation.time_limit
        self._renew_at = now + renewal_seconds()
        self._beat_at = now

    def interrupts_allowed(self) -> AbstractContextManager[None]:
        """A block in which the job may be interrupted between its calls, where its kind asks."""
        return (
            nullcontext() if self.interruptible is None else self.interruptible.interrupts_allowed()
        )

    @property
    def needs_check(self) -> bool:
        """Whether a call of the job has to do more than set `progress`."""
        return (
            self.inline
            or self.interruption is not None
            or self.is_neglected
            or time.monotonic() >= self.deadline
        )

    def check(self, *, now: bool = False) -> None:
        """Raise the interruption that ends this attempt, if there is one.

        `now`: an inline job reads its row even when its last beat is only just over.
        """
        self.check_clock()
        if self.inline or self.is_neglected:
            self._beat_in_job(now=now and self.inline)
        if self.interruption is not None:
            raise self.interruption

    def check_clock(self) -> None:
        """Learn without a database that the time is up, or that the worker stops."""
        if time.monotonic() >= self.deadline:
            if self.interruption in (None, WorkerStopping):
                self._interrupt(TimeLimitExceeded)
        elif (
            self.interruption is None and interrupts.stopping.is_set() and self.operation.max_losses
        ):
            self._interrupt(WorkerStopping)
        if self.interruption is not None and self.interruptible is not None:
            self.interruptible.interrupt()

    def miss_beat(self) -> None:
        """The thread could not beat. After two thirds of the lease the job has to."""
        self.is_neglected = time.monotonic() >= self._renew_at + renewal_seconds()

    def _beat_in_job(self, *, now: bool) -> None:
        """Beat in the job's thread. The job hears nothing of a database that is away."""
        if os.getpid() != self.pid or not (now or time.monotonic() >= self._beat_at):
            return
        self._beat_at = time.monotonic() + (INLINE_BEAT_SECONDS if self.inline else BEAT_SECONDS)
        connection = connections[alias()]
        if connection.in_atomic_block and not self.inline:
            # Other processes would see the renewal only after the job's transaction.
            return
        try:
            beat([self])
        except Error as error:
            if connection.in_atomic_block or not errors.is_temporary(error):
                raise
            logger.warning("Heartbeat failed, the job goes on: %s", error)

    def find_cause(self, error: BaseException) -> BaseException:
        """The interruption behind `error` when a pool ends this process, else `error` itself.

        A pool ends a process when its worker stops, when the job is past Celery's time limit, and
        when an operator terminates the task. Without one of these reasons the attempt is lost.
        """
        if not interrupts.ends_process(error):
            return error
        if self.inline:
            # The process belongs to the caller, and no pool ends it: the job raised the error.
            return error if self.interruption is None else self.interruption()
        self._wait_for_reason()
        if self.interruption is not None:
            return self.interruption()
        self.is_lost = True
        operation, text = self.operation, "Operation id=%s kind=%s lost with its process"
        logger.warning(text, operation.pk, operation.kind)
        with suppress(Error):
            lifecycle.expire_lease(operation.pk, worker=operation.worker, timed_out=False)
        return error

    def _wait_for_reason(self) -> None:
        """Wait for an interruption, REASON_SECONDS at most.

        A job with `max_losses=0` is not interrupted by a worker that stops, so a stop ends the
        wait as well.
        """
        give_up = time.monotonic() + REASON_SECONDS
        while True:
            self.check_clock()
            if self.interruption is None:
                with suppress(Error):
                    beat([self])
            if self.interruption is not None or interrupts.stopping.is_set():
                break
            if time.monotonic() >= give_up:
                break
            time.sleep(0.05)
        self.check_clock()

    @property
    def unsaved_progress(self) -> dict[str, Any]:
        """The columns `progress` and `message`, where the row does not show them yet."""
        progress = self.progress
        if progress is None or progress == self._saved_progress:
            return {}
        return columns(progress)

    def beat(self, row: tuple[str, int] | None) -> None:
        """Compare with status and attempt of the `row`. Write new progress, or renew the lease.

        A row that somebody has locked, above all the job itself, is not waited for: other claims
        need their renewals, and the deadline has to be checked.
        """
        status, attempt = ("", 0) if row is None else row
        if attempt != self.operation.attempt or status not in ACTIVE:
            self._interrupt(ClaimLost)
            return
        if status == Status.CANCELING:
            self._interrupt(OperationCanceled)
        if self.progress != self._saved_progress or time.monotonic() >= self._renew_at:
            # An inline job beats with its own connection, which may hold the lock.
            with nullcontext() if self.inline else _locked(self.operation):
                self._renew()

    def _interrupt(self, interruption: type[JobInterrupted]) -> None:
        self.interruption = interruption
        if self.interruptible is not None:
            self.interruptible.interrupt()

    def _renew(self) -> None:
        progress = self.progress
        is_held = lifecycle.beat(self.operation, **self.unsaved_progress)
        self._saved_progress = progress
        if not is_held:
            self._interrupt(ClaimLost)
        self._renew_at = time.monotonic() + renewal_seconds()
        self.is_neglected = False


@contextmanager
def _locked(operation: Operation) -> Iterator[None]:
    """A transaction that locks the row. Raises OperationalError when another one has locked it."""
    with transaction.atomic(using=alias()):
        if connections[alias()].features.has_select_for_update_nowait:
            rows = Operation.objects.filter(pk=operation.pk).values_list("pk")
            bool(rows.select_for_update(nowait=True))
        yield


def beat(claims: list[Claim]) -> None:
    """Read the rows of `claims` with one statement, then let each claim write what it has to.

    An error of one claim is raised after the last claim.
    """
    operations = Operation.objects.filter(pk__in=[claim.operation.pk for claim in claims])
    rows = {
        pk: (status, attempt)
        for pk, status, attempt in operations.values_list("pk", "status", "attempt")
    }
    failure: Error | None = None
    for claim in claims:
        try:
            claim.beat(rows.get(claim.operation.pk))
        except Error as error:
            failure = error
    if failure is not None:
        raise failure
