"""Removes the content of operations: of expired ones, and of those that a client deletes.

The row stays as a tombstone, so that its id and its idempotency key are remembered for a while.
"""

from collections.abc import Callable

from django.db import ProgrammingError, transaction

from async_reply import conf, lifecycle
from async_reply.attempts import results
from async_reply.database import alias, errors
from async_reply.database.clock import after
from async_reply.exceptions import NotFinished
from async_reply.files import store
from async_reply.logs import logger
from async_reply.models import Operation, OperationAttempt
from async_reply.status import FINAL

#: Seconds until an operation that could not be purged is tried again. Others go first meanwhile.
POSTPONE_SECONDS = 3600


def delete(operation: Operation) -> None:
    """Delete a finished operation: its input, result and files go, a tombstone keeps its key.

    Does nothing if it was deleted before. Raises NotFinished while it has no outcome.
    """
    if operation.status not in FINAL:
        raise NotFinished("Only a finished operation can be deleted: cancel it first, or wait.")
    if purge_content(operation, only_expired=False):
        logger.info("Operation id=%s kind=%s deleted", operation.pk, operation.kind)


def purge_content(operation: Operation, *, only_expired: bool) -> bool:
    """Make a tombstone of a finished operation; False if it is unfinished or a tombstone already.

    With `only_expired` it must have expired as well.
    """
    using = alias()
    with transaction.atomic(using=using):
        if not lifecycle.purge(operation, only_expired=only_expired):
            return False
        files = results.delete_rows(operation)
        OperationAttempt.objects.filter(operation_id=operation.pk).delete()
        transaction.on_commit(lambda: store.delete(files), using=using, robust=True)
    return True


def purge() -> int:
    """Purge expired operations, and delete tombstones whose time is over.

    Returns how many rows it looked at, a batch at most. A row that cannot be removed is logged,
    and tried again in an hour.
    """
    batch = list(
        Operation.objects.expired()
        .order_by("purge_at")
        .only("id", "deleted_at")[: conf.get("BATCH")]
    )
    for operation in batch:
        if operation.deleted_at is None:
            _together_or_singly([operation], _purge_contents)
    tombstones = [operation for operation in batch if operation.deleted_at is not None]
    if tombstones:
        _together_or_singly(tombstones, _delete_tombstones)
    return len(batch)


def _purge_contents(operations: list[Operation]) -> None:
    for operation in operations:
        purge_content(operation, only_expired=True)


def _delete_tombstones(tombstones: list[Operation]) -> None:
    pks = [operation.pk for operation in tombstones]
    with transaction.atomic(using=alias()):
        Operation.objects.expired().filter(pk__in=pks, deleted_at__isnull=False).delete()


def _together_or_singly(
    operations: list[Operation], action: Callable[[list[Operation]], None]
) -> None:
    """Call `action` with all operations. If one of them makes it fail, call it with each alone."""
    try:
        action(operations)
    except Exception as error:
        if errors.is_temporary(error) or isinstance(error, ProgrammingError):
            # The error is about the database or its tables: each row would fail.
            raise
        if len(operations) > 1:
            for operation in operations:
                _together_or_singly([operation], action)
            return
        _postpone(operations[0], error)


def _postpone(operation: Operation, error: Exception) -> None:
    """Try this operation again in an hour: a batch of such operations would stop the purge."""
    logger.warning(
        "Operation id=%s not removed, tried again in an hour: %s. Delete the rows that refer to "
        "it, or give their foreign key on_delete=CASCADE or SET_NULL.",
        operation.pk,
        error,
    )
    Operation.objects.expired().filter(pk=operation.pk).update(purge_at=after(POSTPONE_SECONDS))
