"""Takes operations back from attempts that died, so that they run again or fail.

Maintenance calls `rescue` for leases that are over. A worker's main process calls
`from_dead_process` when it learns that one of its processes died.
"""

from uuid import UUID

from django.db import connections, transaction

from async_reply import conf, lifecycle, signals
from async_reply.database import alias
from async_reply.logs import logger
from async_reply.models import Operation, OperationAttempt
from async_reply.status import FINAL, Status

Outcome = OperationAttempt.Outcome

#: The columns that a rescue reads.
FIELDS = (
    *("id", "kind", "status", "attempt", "losses", "max_losses", "retention"),
    *("worker", "started_at"),
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
    return (is_released and _release(operation)) or _rescue(operation)


def _release(operation: Operation) -> bool:
    """Release as the process itself would have done, had it lived on; whether that was allowed."""
    with transaction.atomic(using=alias()):
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
    with transaction.atomic(using=alias()):
        # A process that has locked the row is alive, and other rows need this thread.
        if not _lock(operation.pk):
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


def _lock(pk: UUID) -> bool:
    """Lock the row; False when somebody else has. True for a database that locks no rows."""
    rows = Operation.objects.filter(pk=pk).values_list("pk")
    if not connections[alias()].features.has_select_for_update_skip_locked:
        return True
    return bool(rows.select_for_update(skip_locked=True))


def _is_timed_out(operation: Operation, status: Status) -> bool:
    return status is Status.FAILED and (operation.error or {}).get("code") == "timed-out"
