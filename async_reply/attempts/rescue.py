"""Takes operations back from attempts that died, so that they run again or fail.

Maintenance calls `rescue` for leases that are over. A worker's main process calls
`from_dead_process` when it learns that one of its processes died.
"""

import logging
from uuid import UUID

from django.db import transaction

from async_reply import conf, lifecycle, signals, traces
from async_reply.attempts import compensation, reports, row_locks
from async_reply.database import alias
from async_reply.logs import logger
from async_reply.models import Operation, OperationAttempt
from async_reply.status import FINAL, Status

Outcome = OperationAttempt.Outcome

ENDED_WITH_WORKER = "its process ended with the worker"
#: The columns that a rescue reads.
FIELDS = (
    *("id", "kind", "status", "attempt", "losses", "max_losses", "retention"),
    *("worker", "started_at", "queue", "priority", "traceparent", "steps"),
    *("give_up_at", "deadline_at", "idle_releases", "reply"),
)


def rescue() -> int:
    """Rescue lost operations, a batch at most; how many were rescued."""
    lost = Operation.objects.lost().order_by("pk")
    return sum(_rescue(operation) for operation in lost.only(*FIELDS)[: conf.get("BATCH")])


def from_dead_process(pk: UUID, *, worker: str, timed_out: bool, stopping: bool = False) -> bool:
    """Rescue an operation without waiting for its lease; whether the process held it.

    `worker` names the process, which is known to be dead. With `stopping` the process ended with
    its worker: the operation is released, which costs none of `max_losses`.
    """
    if not lifecycle.expire_lease(pk, worker=worker, timed_out=timed_out):
        return False
    operation = Operation.objects.lost().filter(pk=pk).first()
    if operation is None:
        return False
    is_released = stopping and not timed_out and operation.max_losses > 0
    return (is_released and _release(operation)) or _rescue(operation, cause="its process ended")


def _release(operation: Operation) -> bool:
    """Release as the process itself would have done, had it lived on; whether that was allowed."""
    with transaction.atomic(using=alias()):
        if not lifecycle.release(operation):
            return False
        _record(operation, Outcome.RELEASED)
    level, remedy = reports.of_release(operation)
    logger.event(
        "released",
        operation,
        level=level,
        remedy=remedy,
        status=Status.PENDING,
        attempt=operation.attempt,
        worker=operation.worker,
        reason=ENDED_WITH_WORKER,
    )
    traces.tracer.end_lost(operation, event="released", reason=ENDED_WITH_WORKER)
    return True


def _record(operation: Operation, outcome: OperationAttempt.Outcome) -> None:
    OperationAttempt.objects.create(
        operation_id=operation.pk,
        number=operation.attempt,
        worker=operation.worker,
        started_at=operation.started_at,
        outcome=outcome,
    )


def _rescue(operation: Operation, *, cause: str = "its lease was not renewed") -> bool:
    undo = compensation.of_lost(operation)
    status = undo.stored(lambda: _take(operation))
    if status is None:
        return False
    if status in FINAL:
        undo.warn_of_unknown_kind()
    timed_out = _is_timed_out(operation, status)
    reason = "the time limit was over" if timed_out else cause
    logger.event(
        "lost",
        operation,
        level=logging.WARNING,
        status=status,
        attempt=operation.attempt,
        worker=operation.worker,
        reason=reason,
    )
    traces.tracer.end_lost(operation, event="lost", reason=reason)
    if status in FINAL:
        code = (operation.error or {}).get("code", "") if status is Status.FAILED else ""
        reports.log_end(operation, status, code=code, attempt=operation.attempt, reason=reason)
        signals.announce_finished(operation, status)
    return True


def _take(operation: Operation) -> Status | None:
    """Take the operation from its attempt and record the loss; None if the attempt is alive."""
    # A process that has locked the row is alive, and other rows need this thread.
    status = lifecycle.rescue(operation) if row_locks.lock(operation.pk) else None
    if status is not None:
        timed_out = _is_timed_out(operation, status)
        _record(operation, Outcome.TIMED_OUT if timed_out else Outcome.LOST)
    return status


def _is_timed_out(operation: Operation, status: Status) -> bool:
    return status is Status.FAILED and (operation.error or {}).get("code") == "timed-out"
