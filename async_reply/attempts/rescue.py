"""Takes operations back from attempts that died, so that they run again or fail."""

from uuid import UUID

from django.db import connections, transaction

from async_reply import conf, lifecycle, signals
from async_reply.database import alias
from async_reply.logs import logger
from async_reply.models import Operation, OperationAttempt
from async_reply.status import FINAL, Status

Outcome = OperationAttempt.Outcome


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
    if not lifecycle.expire_lease(pk, worker=worker, timed_out=timed_out):
        return False
    lost = Operation.objects.lost().filter(pk=pk).first()
    if lost is None:
        return False
    is_free = stopping and not timed_out and lost.max_losses > 0
    return (is_free and _release(lost)) or _rescue(lost)


def _release(operation: Operation) -> bool:
    """As the process itself would have done it, had its worker let it."""
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
    if not connections[alias()].features.has_select_for_update_skip_locked:
        return True
    return bool(rows.select_for_update(skip_locked=True))


def _is_timed_out(operation: Operation, status: Status) -> bool:
    return status is Status.FAILED and (operation.error or {}).get("code") == "timed-out"
