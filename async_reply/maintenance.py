"""What keeps operations from being lost or kept for ever, inside every worker."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from django.db import connections, transaction

from async_reply import conf, forks, heartbeats, lifecycle, outages, schema, signals, unpooled
from async_reply.logs import logger
from async_reply.models import Operation, OperationAttempt, database
from async_reply.status import FINAL, Status

Outcome = OperationAttempt.Outcome

LONGEST_PAUSE = 5.0
RESCUED = (
    *("id", "kind", "status", "attempt", "losses", "max_losses", "retention"),
    *("worker", "started_at"),
)


def rescue() -> int:
    """Take lost operations from their attempts; how many."""
    lost = Operation.objects.lost().order_by("pk")
    return sum(_rescue(operation) for operation in lost.only(*RESCUED)[: conf.get("BATCH")])


def take_back(pk: UUID, *, worker: str, timed_out: bool, stopping: bool = False) -> bool:
    """Rescue an operation whose process is known to be gone; whether that process held it.

    `stopping`: the worker stops, so that this is the end of the process and no loss of the job's.
    """
    if not lifecycle.forfeit(pk, worker=worker, timed_out=timed_out):
        return False
    lost = Operation.objects.lost().filter(pk=pk).first()
    if lost is None:
        return False
    is_free = stopping and not timed_out and lost.max_losses > 0
    return (is_free and _release(lost)) or _rescue(lost)


def _release(operation: Operation) -> bool:
    """As the process itself would have done it, had its worker let it."""
    with transaction.atomic(using=database()):
        if not lifecycle.release(operation):
            return False
        _record(operation, Outcome.RELEASED)
    logger.info("Operation id=%s kind=%s released", operation.pk, operation.kind)
    return True


def _record(operation: Operation, outcome: OperationAttempt.Outcome) -> None:
    OperationAttempt.objects.create(
        operation_id=operation.pk,
        number=operation.attempt,
        worker=operation.worker,
        started_at=operation.started_at,
        outcome=outcome,
    )


def _rescue(operation: Operation) -> bool:
    with transaction.atomic(using=database()):
        # Whoever holds the row is alive, and this thread has others to look after.
        if not _locked(operation.pk):
            return False
        status = lifecycle.rescue(operation)
        if status is None:
            return False
        timed_out = _is_timed_out(operation, status)
        _record(operation, Outcome.TIMED_OUT if timed_out else Outcome.LOST)
    logger.warning(
        "Operation id=%s kind=%s status=%s rescued from worker %s",
        operation.pk,
        operation.kind,
        status,
        operation.worker,
    )
    if status in FINAL:
        signals.announce_finished(operation, status)
    return True


def _locked(pk: UUID) -> bool:
    """Lock the row unless somebody else has; True where the database locks no rows."""
    rows = Operation.objects.filter(pk=pk).values_list("pk")
    if not connections[database()].features.has_select_for_update_skip_locked:
        return True
    return bool(rows.select_for_update(skip_locked=True))


def _is_timed_out(operation: Operation, status: Status) -> bool:
    return status is Status.FAILED and (operation.error or {}).get("code") == "timed-out"


@dataclass
class Step:
    """Something done each `every` seconds, less often while it finds nothing to do.

    `rescues`: it judges others by their leases, so it waits for a lease after trouble.
    `publishes`: it waits for the broker too, which says nothing of the database.
    `drains`: it goes on at once while it finds whole batches.
    """

    name: str
    every: float
    function: Callable[[], int]
    rescues: bool = False
    publishes: bool = False
    drains: bool = False
    due_at: float = 0.0
    pause: float = field(init=False)

    def __post_init__(self) -> None:
        self.pause = self.every

    def schedule(self, *, found: int) -> None:
        longest = max(self.every, LONGEST_PAUSE)
        self.pause = self.every if found else min(longest, self.pause * 2)
        pause = 0 if self.drains and found >= conf.get("BATCH") else self.pause
        self.due_at = time.monotonic() + pause * random.uniform(0.8, 1.0)  # noqa: S311


class Maintenance(threading.Thread):
    """A daemon thread that runs `steps`; whatever one raises, all go on.

    `farewell` is called once it is stopped, by itself: whoever stops it waits for seconds at most.
    """

    def __init__(self, steps: list[Step], *, farewell: Callable[[], object] = lambda: None) -> None:
        super().__init__(name="async_reply-maintenance", daemon=True)
        self.steps = steps
        self._farewell = farewell
        self._stopping = threading.Event()
        self._trusted_from = 0.0
        self._failing: set[str] = set()

    def run(self) -> None:
        unpooled.leave_pool()
        while not self._stopping.is_set():
            self.turn()
            pause = min(step.due_at for step in self.steps) - time.monotonic()
            if pause > LONGEST_PAUSE:
                heartbeats.disconnect()
            self._stopping.wait(max(0.05, pause))
        with forks.held_off():
            try:
                self._farewell()
            except Exception as error:  # noqa: BLE001 a worker that stops has done its work
                logger.warning("Maintenance ends without its farewell: %s", error)
        heartbeats.disconnect()

    def stop(self, timeout: float = 5.0) -> None:
        self._stopping.set()
        if self.is_alive():
            self.join(timeout)

    def turn(self) -> int:
        """Run what is due; how much it found to do."""
        found = 0
        for step in self.steps:
            if time.monotonic() >= step.due_at and not self._stopping.is_set():
                with forks.held_off():
                    found += self._run(step)
        return found

    def _run(self, step: Step) -> int:
        started = time.monotonic()
        found, away = 0, False
        if not (step.rescues and started < self._trusted_from):
            try:
                found = step.function()
                self._failing -= {step.name, schema.REMEDY}
            except Exception as error:  # noqa: BLE001 nothing here may take a worker down
                self._fail(step, error)
                away = outages.is_away(error)
        lease = lifecycle.lease()
        waited = not step.publishes and time.monotonic() - started > lease / 3
        # After an outage all leases are over at once: healthy jobs must get to renew theirs.
        if away or waited:
            self._trusted_from = time.monotonic() + lease
        step.schedule(found=found)
        return found

    def _fail(self, step: Step, error: Exception) -> None:
        # Without tables all steps fail alike: one line says what to do.
        behind = schema.is_behind(error)
        about = schema.REMEDY if behind else step.name
        if about not in self._failing and behind:
            logger.warning("Maintenance waits. %s", schema.REMEDY)
        elif about not in self._failing:
            logger.warning("Maintenance step %s failed, it goes on", step.name, exc_info=error)
        self._failing.add(about)
        heartbeats.disconnect()
