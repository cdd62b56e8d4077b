"""The way of a new operation into the tables: one row a key, within the quota, then published."""

from collections.abc import Callable, Sequence

from django.db import Error, IntegrityError, connections, transaction

from async_reply import outages, relay, signals
from async_reply.idempotency import IdempotencyKey
from async_reply.logs import logger
from async_reply.models import Operation, OperationFile, database
from async_reply.quotas import Quota

Perform = Callable[[Operation], object]

TRIES = 5


class KeyTaken(IntegrityError):
    """Another operation has this key."""


def once(
    operation: Operation,
    files: Sequence[OperationFile],
    *,
    perform: Perform | None,
    key: IdempotencyKey | None,
    quota: Quota | None,
) -> Operation | None:
    """Insert, or return the operation that `key` made before.

    Again where that has just gone, whose row was in the way, and where the database refused for
    what others did at the same time.
    """
    for tries_left in reversed(range(TRIES)):
        try:
            insert(operation, files, perform=perform, quota=quota)
        except KeyTaken:
            earlier = key.find() if key is not None else None
            if earlier is not None:
                return earlier
            if not tries_left:
                raise
        except Error as error:
            if not tries_left or not _is_worth_another_try(error):
                raise
        else:
            break
    return None


def insert(
    operation: Operation,
    files: Sequence[OperationFile],
    *,
    perform: Perform | None = None,
    quota: Quota | None = None,
) -> None:
    """Store the rows in one transaction, in which `perform` is called, and publish after it.

    Raises KeyTaken, and QuotaExceeded where there is a `quota`.
    """
    using = database()
    published = operation.publishes > 0
    with transaction.atomic(using=using) if quota is None else quota.turn():
        try:
            operation.save(force_insert=True)
        except IntegrityError as error:
            if operation.idempotency_digest is None:
                raise
            raise KeyTaken(*error.args) from error
        if quota is not None:
            quota.settle()
        for row in files:
            # Rolled back and tried again, its first number may be another's by now.
            row.pk = None
            row.save(force_insert=True)
        if perform is not None:
            perform(operation)
        if published:
            relay.publish_on_commit(operation)
        transaction.on_commit(lambda: _announce(operation), using=using, robust=True)


def _is_worth_another_try(error: Error) -> bool:
    """Whether the transaction was rolled back for others' sake, and is no caller's own.

    On MariaDB all who wait for an insert of the same key deadlock when it comes to nothing or its
    tombstone goes, and all but one of them are refused.
    """
    return outages.is_conflict(error) and not connections[database()].in_atomic_block


def _announce(operation: Operation) -> None:
    logger.info("Operation id=%s kind=%s submitted", operation.pk, operation.kind)
    signals.send(signals.operation_submitted, operation)
