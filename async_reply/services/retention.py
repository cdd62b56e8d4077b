"""What happens to operations whose time is over."""

from collections.abc import Callable

from django.db import ProgrammingError, transaction

from async_reply import conf, lifecycle
from async_reply.attempts import results
from async_reply.database import alias, errors
from async_reply.database.clock import DatabaseNow, after
from async_reply.exceptions import NotFinished
from async_reply.files import store
from async_reply.logs import logger
from async_reply.models import Operation, OperationAttempt
from async_reply.status import FINAL

#: Seconds until what could not be removed is tried again: meanwhile it is not in others' way.
POSTPONED = 3600


def bury(operation: Operation, *, expired: bool) -> bool:
    """Remove the content of a finished operation and keep a tombstone; False if it has none."""
    using = alias()
    with transaction.atomic(using=using):
        if not lifecycle.bury(operation, expired=expired):
            return False
        removed = results.delete_rows(operation)
        OperationAttempt.objects.filter(operation_id=operation.pk).delete()
        transaction.on_commit(lambda: store.remove(removed), using=using, robust=True)
    return True


def purge() -> int:
    """Bury expired operations and remove tombstones past their time; how many were looked at.

    A batch at most. What cannot be removed is logged and comes again in an hour.
    """
    batch = list(
        Operation.objects.expired()
        .order_by("purge_at")
        .only("id", "deleted_at")[: conf.get("BATCH")]
    )
    for operation in batch:
        if operation.deleted_at is None:
            _clear([operation], _bury)
    tombstones = [operation for operation in batch if operation.deleted_at is not None]
    if tombstones:
        _clear(tombstones, _remove)
    return len(batch)


def _bury(operations: list[Operation]) -> None:
    for operation in operations:
        bury(operation, expired=True)


def _remove(tombstones: list[Operation]) -> None:
    pks = [operation.pk for operation in tombstones]
    with transaction.atomic(using=alias()):
        Operation.objects.expired().filter(pk__in=pks, deleted_at__isnull=False).delete()


def _clear(operations: list[Operation], action: Callable[[list[Operation]], None]) -> None:
    """Do `action` to all at once, or to each where all are refused for the sake of one."""
    try:
        action(operations)
    except Exception as error:
        if errors.is_passing(error) or isinstance(error, ProgrammingError):
            # It befalls all rows alike.
            raise
        if len(operations) > 1:
            for operation in operations:
                _clear([operation], action)
            return
        _postpone(operations[0], error)


def _postpone(operation: Operation, error: Exception) -> None:
    """One that stays at the head of the queue would, with others of its kind, stop the purge."""
    logger.warning(
        "Operation id=%s not removed, tried again in an hour: %s. Delete what refers to it, or "
        "let it go along by on_delete=CASCADE or SET_NULL.",
        operation.pk,
        error,
    )
    Operation.objects.expired().filter(pk=operation.pk).update(purge_at=after(POSTPONED))


def disown(owner: str) -> int:
    """Let all that `owner` submitted expire now, or as soon as it has finished; how many."""
    theirs = Operation.objects.filter(owner=owner, deleted_at=None)
    finished = theirs.filter(status__in=sorted(FINAL))
    return finished.update(expires_at=DatabaseNow(), purge_at=DatabaseNow()) + (
        theirs.unfinished().update(expires_at=DatabaseNow())
    )


def delete(operation: Operation) -> None:
    """Remove all that a finished operation was given and has said; a tombstone keeps its key.

    Raises NotFinished while it has no outcome.
    """
    if operation.status not in FINAL:
        raise NotFinished("Only a finished operation can be deleted: cancel it first, or wait.")
    if bury(operation, expired=False):
        logger.info("Operation id=%s kind=%s deleted", operation.pk, operation.kind)
