"""Cancels operations: a pending one at once, a running one when its job next calls in."""

from async_reply import lifecycle, signals
from async_reply.attempts import compensation
from async_reply.attempts.kinds import Kind
from async_reply.exceptions import AlreadyFinished, NotCancelable, UnknownKind
from async_reply.logs import logger
from async_reply.models import Operation
from async_reply.status import CANCELABLE, FINAL, Status
from async_reply.tasks import get_task

CHANGED_BY_CANCEL = (
    "status",
    "version",
    "attempt",
    "error",
    "updated_at",
    "finished_at",
    "expires_at",
    "cancel_requested_at",
)


def cancel(operation: Operation) -> Status:
    """Cancel a pending operation, or ask a running one to stop; returns the new status.

    A second cancel changes nothing. Raises AlreadyFinished if the operation succeeded or failed,
    NotCancelable if an attempt has begun and the kind cannot be canceled.
    """
    while operation.status in CANCELABLE:
        if has_begun(operation) and not is_cancelable(operation):
            raise NotCancelable("This operation has begun and cannot be canceled.")
        if _cancel(operation):
            operation.refresh_from_db(fields=CHANGED_BY_CANCEL)
            is_canceled = operation.status == Status.CANCELED
            logger.event("finished" if is_canceled else "cancel_requested", operation)
            if is_canceled:
                signals.announce_finished(operation, Status.CANCELED)
        else:
            operation.refresh_from_db(fields=CHANGED_BY_CANCEL)
    status = Status(operation.status)
    if status in FINAL and status != Status.CANCELED:
        raise AlreadyFinished(f"The operation has already {status.value}.")
    return status


def _cancel(operation: Operation) -> bool:
    """Cancel, and call the kind's `on_cancel` if that ends the operation; False if it changed.

    The job of a running operation stops first. Its worker calls the function then.
    """
    undo = compensation.Compensation(operation, _kind(operation))
    if operation.status != Status.PENDING or not undo.has_functions(Status.CANCELED):
        return lifecycle.cancel(operation)
    return bool(undo.stored(lambda: Status.CANCELED if lifecycle.cancel(operation) else None))


def _kind(operation: Operation) -> Kind | None:
    """The kind of the operation; None if this process cannot import it."""
    try:
        return get_task(operation.kind).kind
    except UnknownKind:
        return None


def has_begun(operation: Operation) -> bool:
    """Whether an attempt has begun: even a lost one may have done a part of its work."""
    return operation.attempt > 0 or operation.status == Status.RUNNING


def is_cancelable(operation: Operation) -> bool:
    """Whether its kind lets it be canceled after an attempt has begun, and between attempts."""
    return allows_cancel(_kind(operation))


def allows_cancel(kind: Kind | None) -> bool:
    """Whether an operation of this kind can be stopped once it has begun; None: unknown kind."""
    return kind is None or kind.cancel != "never"
