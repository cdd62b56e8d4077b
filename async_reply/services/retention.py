"""Removes the content of operations: of expired ones, and of those that a client deletes.

The row stays as a tombstone, so that its id and its idempotency key are remembered for a while.
"""

import time
from collections.abc import Callable

from django.db import ProgrammingError, transaction
from django.db.models.signals import post_delete, pre_delete

from async_reply import conf, lifecycle
from async_reply.attempts import results
from async_reply.database import alias, errors
from async_reply.database.clock import after
from async_reply.exceptions import NotFinished
from async_reply.files import store
from async_reply.logs import logger
from async_reply.models import (
    Operation,
    OperationAttempt,
    OperationEvents,
    OperationStep,
    ProcessCommand,
)
from async_reply.status import FINAL, Status

#: Seconds until an operation that could not be purged is tried again. Others go first meanwhile.
POSTPONE_SECONDS = 3600
SECONDS_PER_TURN = 0.5
#: One statement purges so many batches.
BATCHES_AT_ONCE = 5


def delete(operation: Operation) -> None:
    """Delete a finished operation: its input, result and files go, a tombstone keeps its key.

    Does nothing if it was deleted before. Raises NotFinished while it has no outcome.
    """
    if operation.status not in FINAL:
        raise NotFinished("Only a finished operation can be deleted: cancel it first, or wait.")
    if purge_content(operation, only_expired=False):
        logger.event("deleted", operation)


def purge_content(operation: Operation, *, only_expired: bool) -> bool:
    """Make a tombstone of a finished operation; False if it is unfinished or a tombstone already.

    With `only_expired` it must have expired as well.
    """
    with transaction.atomic(using=alias()):
        if not lifecycle.purge(operation, only_expired=only_expired):
            return False
        _delete_content([operation])
    return True


def purge() -> int:
    """Purge expired operations, and delete tombstones whose time is over, for half a second.

    Returns how many rows it looked at. A row that cannot be removed is logged, and tried again in
    an hour.
    """
    give_up = time.monotonic() + SECONDS_PER_TURN
    size = conf.get("BATCH") * BATCHES_AT_ONCE
    total = count = _purge_batch(size)
    while count == size and time.monotonic() < give_up:
        count = _purge_batch(size)
        total += count
    return total


def _purge_batch(size: int) -> int:
    oldest = Operation.objects.expired().order_by("purge_at")
    columns = ("id", "deleted_at", "status", "attempt", "steps", "events", "commands")
    batch = list(oldest.only(*columns)[:size])
    expired = [operation for operation in batch if operation.deleted_at is None]
    tombstones = [operation for operation in batch if operation.deleted_at is not None]
    if expired:
        _together_or_singly(expired, _purge_contents)
    if tombstones:
        _together_or_singly(tombstones, _delete_tombstones)
    if batch:
        counts = {"operations": len(batch) - len(tombstones), "tombstones": len(tombstones)}
        text = "Purged operations=%s tombstones=%s"
        logger.info(text, *counts.values(), extra={"event": "purged", **counts})
    return len(batch)


def _purge_contents(operations: list[Operation]) -> None:
    with transaction.atomic(using=alias()):
        pks = {operation.pk for operation in operations}
        if lifecycle.purge_all(pks) < len(pks):
            # Some are tombstones already. Others are unfinished, and keep their content.
            tombstones = Operation.objects.filter(pk__in=pks, deleted_at__isnull=False)
            pks = set(tombstones.values_list("pk", flat=True))
        _delete_content([operation for operation in operations if operation.pk in pks])


def _delete_content(operations: list[Operation]) -> None:
    """Delete the rows of the content of tombstones, and their files once that is committed."""
    # A step refers to its file.
    stepped = [row.pk for row in operations if row.steps]
    if stepped:
        OperationStep.objects.filter(operation_id__in=stepped).delete()
    files = results.delete_rows([operation.pk for operation in operations])
    # An operation that succeeded at its first attempt has no row of an attempt.
    failed = [row.pk for row in operations if row.attempt > 1 or row.status != Status.SUCCEEDED]
    if failed:
        OperationAttempt.objects.filter(operation_id__in=failed).delete()
    commanded = [row.pk for row in operations if row.commands]
    emitting = [row.pk for row in operations if row.events]
    if emitting:
        OperationEvents.objects.filter(operation_id__in=emitting).delete()
    if commanded:
        ProcessCommand.objects.filter(operation_id__in=commanded).delete()
    if files:
        transaction.on_commit(lambda: store.delete(files), using=alias(), robust=True)


def _delete_tombstones(tombstones: list[Operation]) -> None:
    pks = [operation.pk for operation in tombstones]
    rows = Operation.objects.expired().filter(pk__in=pks, deleted_at__isnull=False)
    with transaction.atomic(using=alias()):
        if len(pks) > 1 and _is_referred_to_by_ours_only():
            Operation.objects.filter(rerun_of__in=pks).update(rerun_of=None)
            # Django's delete() reads each row with all columns, and looks in five tables for rows
            # that a tombstone has no more: 367 us of processor time a row, this 109.
            rows._raw_delete(alias())  # noqa: SLF001 Django has no public form
        else:
            rows.delete()


def _is_referred_to_by_ours_only() -> bool:
    """Whether Django has nothing to do for a deleted operation beside its own row."""
    models = {
        relation.related_model._meta.app_label for relation in Operation._meta.related_objects
    }
    listened = any(signal.has_listeners(Operation) for signal in (pre_delete, post_delete))
    return models == {Operation._meta.app_label} and not listened


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
