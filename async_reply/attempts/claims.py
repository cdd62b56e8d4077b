"""A running attempt's hold on its row: renews the lease, and learns that the attempt has to end.

The thread in heartbeats.py calls `beat` for all claims of its process. A job that runs inline has
no such thread and beats at its own calls.

This module alone knows the rule of the lease. A lease is renewed after a third of its length. When
two thirds are over without a renewal, the job renews it itself at its next call.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NoReturn

from django.db import Error, connections

from async_reply import lifecycle
from async_reply.attempts import deadlines, interrupts, outages, process_commands, sessions
from async_reply.attempts.cursors import Kept
from async_reply.attempts.events import EventLog
from async_reply.attempts.progress import Progress, columns
from async_reply.attempts.row_locks import locked
from async_reply.attempts.stacks import JobThread
from async_reply.database import alias, errors
from async_reply.database.leases import lease_seconds
from async_reply.database.shapes import Columns
from async_reply.exceptions import (
    AttemptGivenBack,
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


def renewal_seconds() -> float:
    """Seconds from one renewal of a lease to the next."""
    return lease_seconds() / 3


class Claim:
    """An attempt's hold on its operation, shared by the job's thread and the heartbeat's."""

    def __init__(
        self,
        operation: Operation,
        *,
        inline: bool,
        interrupt: bool = False,
        wake: Callable[[], None] | None = None,
    ) -> None:
        """`wake` tells the heartbeat's thread that events are to be written."""
        now = time.monotonic()
        self.operation = operation
        #: The process that may write for the attempt. A process that the job forks may not.
        self.pid = os.getpid()
        self.inline = inline
        #: Held around each write of the row, so that an older write never follows a newer one.
        self.lock = threading.RLock()
        #: Whether a transaction of the job locks the whole database, as that of a step on SQLite.
        self.holds_database = False
        self._thread_id, self._depths = threading.get_ident(), sessions.depths()
        self.is_neglected = False  # whether the job has to renew the lease: the thread could not
        self.interruption: type[JobInterrupted] | None = None
        #: Whether its process is being ended without a reason: this costs one of `max_losses`.
        self.is_lost = False
        self.interruptible = interrupts.InterruptibleJob(self) if interrupt and not inline else None
        #: The job sets it at each call. It is written once a beat.
        self.progress: Progress | None = None
        self._saved_progress: Progress | None = None
        self.events = EventLog(operation, wake=wake)
        self.kept = Kept(operation.kept, self.events)
        self._thread = JobThread()
        self._commands = operation.commands
        #: By `time.monotonic()`: this clock needs no database, which may be away or locked.
        self.deadline, half_at = deadlines.of(operation)
        self.halftime = deadlines.Halftime(operation, half_at)
        self._renew_at = now + renewal_seconds()
        self._beat_at = now
        #: When the last successful beat began.
        self._seen_at = now

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
        """Raise the interruption of this attempt; `now`: an inline job reads its row for it."""
        self.check_clock()
        if self.inline or self.is_neglected:
            self._beat_in_job(now=now and self.inline)
        if self.interruption is not None:
            raise self.interruption

    def check_halftime(self) -> None:
        """Raise AttemptGivenBack if half of the attempt's time is over."""
        if self.halftime.is_over():
            self.interruption = AttemptGivenBack
            raise AttemptGivenBack

    def check_clock(self) -> None:
        """Learn without a database that the time is up, or that the worker stops."""
        if time.monotonic() >= self.deadline:
            if self.interruption in (None, AttemptGivenBack, WorkerStopping):
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

    @property
    def unsaved_progress(self) -> dict[str, Any]:
        """The columns of progress, cursors and state, where the row does not show them yet."""
        progress = self.progress
        is_shown = progress == self._saved_progress
        return ({} if progress is None or is_shown else columns(progress)) | self.kept.unsaved

    @property
    def unsaved_further(self) -> dict[str, Any]:
        """The same for a write that is progress: no later attempt emits the events again."""
        last = self.events.last
        return self.unsaved_progress | ({"kept_events": last} if last else {})

    def changed_transactions(self) -> list[str]:
        """Aliases on which this thread has another transaction than when the attempt began."""
        is_of_job = threading.get_ident() == self._thread_id
        return sessions.changed_since(self._depths if is_of_job else {})

    def look_if_old(self) -> None:
        """Renew the lease, or raise ClaimLost, in a process that was frozen for half a lease."""
        if time.monotonic() - self._seen_at > lease_seconds() / 2:
            self._renew_at = time.monotonic()
            outages.read_for_job(self.operation.pk, lambda: beat([self]))
            if self.interruption is not None:
                raise self.interruption

    @contextmanager
    def storing(self) -> Iterator[Columns]:
        """A block that writes the columns it is given and renews the lease; events are written.

        The lock is held. After an error the columns and the events are written again later.
        """
        with self.lock:
            began_at, progress = time.monotonic(), self.progress
            unsaved = self.unsaved_further
            if not outages.read_for_job(self.operation.pk, self.events.write):
                self.lose()
            yield unsaved
            self.events.mark_written()
            self._saved_progress = progress
            self.kept.saved(unsaved)
            self._seen_at, self._renew_at = began_at, began_at + renewal_seconds()
            self.is_neglected = False
            self.halftime.get_further()

    def end_events(self) -> None:
        """Write the last events; raises ClaimLost or DatabaseAway."""
        self.events.close()
        with self.lock:
            if not outages.read_for_job(self.operation.pk, self.events.write):
                self.lose()
            self.events.mark_written()

    def write_events(self) -> None:
        """Write the events that wait; the heartbeat's thread calls it when some are due."""
        self._write_unless_busy(self._write_events, is_urgent=False)

    def lose(self) -> NoReturn:
        """A write has missed: another attempt holds the operation, or it has ended."""
        self._interrupt(ClaimLost)
        raise ClaimLost

    def beat(self, row: tuple[str, int, int] | None, *, began_at: float | None = None) -> None:
        """Compare with status and attempt of the `row`. Write new progress, or renew the lease.

        Before, obey an operator if the number of commands in the row has grown. An error there
        does not keep the claim from its renewal. `began_at`: when the row was read. A row that is
        locked is not waited for: other claims need their renewals.
        """
        status, attempt, commands = ("", 0, 0) if row is None else row
        if attempt != self.operation.attempt or status not in ACTIVE:
            self._interrupt(ClaimLost)
            return
        if status == Status.CANCELING:
            self._interrupt(OperationCanceled)
        try:
            if commands != self._commands:
                process_commands.obey(self.operation, thread=self._thread, inline=self.inline)
                self._commands = commands
        finally:
            is_urgent = time.monotonic() >= self._renew_at
            if is_urgent or self.unsaved_progress:
                self._write_unless_busy(self._renew, is_urgent=is_urgent)
        self._seen_at = time.monotonic() if began_at is None else began_at

    def _write_unless_busy(self, write: Callable[[], Columns | None], *, is_urgent: bool) -> None:
        """Call `write`, unless a step is being stored. A renewal returns its columns."""
        if (self.holds_database and not is_urgent) or not self.lock.acquire(blocking=False):
            self.events.postpone()
            return
        try:
            progress = self.progress
            # An inline job beats with its own connection, which may hold the lock.
            with nullcontext() if self.inline else locked(self.operation.pk):
                written = write()
            if self._may_write_events:
                self.events.mark_written()
            if written is not None:
                self._saved_progress = progress
                self.kept.saved(written)
                self._renew_at = time.monotonic() + renewal_seconds()
                self.is_neglected = False
        except BaseException:
            self.events.postpone()
            raise
        finally:
            self.lock.release()

    @property
    def _may_write_events(self) -> bool:
        """No inline job writes them in a transaction of its own, which may be rolled back."""
        return not (self.inline and self.changed_transactions())

    def _write_events(self) -> None:
        if self._may_write_events and not self.events.write():
            self._interrupt(ClaimLost)

    def _interrupt(self, interruption: type[JobInterrupted]) -> None:
        self.interruption = interruption
        if self.interruptible is not None:
            self.interruptible.interrupt()

    def _renew(self) -> Columns:
        unsaved = self.unsaved_progress
        self._write_events()
        if not lifecycle.beat(self.operation, **unsaved):
            self._interrupt(ClaimLost)
        return unsaved


def beat(claims: list[Claim]) -> None:
    """Read the rows of `claims` with one statement, then let each write. Errors come last."""
    began_at = time.monotonic()
    operations = Operation.objects.filter(pk__in=[claim.operation.pk for claim in claims])
    columns_read = operations.values_list("pk", "status", "attempt", "commands")
    rows = {pk: (status, attempt, commands) for pk, status, attempt, commands in columns_read}
    failure: Error | None = None
    for claim in claims:
        try:
            claim.beat(rows.get(claim.operation.pk), began_at=began_at)
        except Error as error:
            failure = error
    if failure is not None:
        raise failure
