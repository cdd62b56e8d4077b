"""Commits the end of an attempt, for the runner; keeps trying while the database is away."""

from collections.abc import Callable
from contextlib import nullcontext

from django.db import Error, connections, transaction
from django.db.transaction import TransactionManagementError

from async_reply import lifecycle, signals
from async_reply.attempts import outages, results
from async_reply.database import alias, errors
from async_reply.models import Operation
from async_reply.status import Status


def finish(
    operation: Operation,
    write: Callable[[], bool],
    status: Status | None,
    *,
    in_transaction: bool = True,
    is_in_callback: Callable[[], bool] = lambda: False,
) -> bool:
    """Commit `write`; whether it is stored. False when the attempt had lost its claim.

    `status` is the final status that `write` gives the row; None for pending, to run again.
    `in_transaction` is False for a `write` of one statement.
    `is_in_callback` says, when `write` raised, whether code of the job was running in it.
    Raises DatabaseAway when the database stays away until the lease is over.
    """
    tries = 0

    def commit() -> bool:
        nonlocal tries
        tries += 1
        depth = len(connections[alias()].atomic_blocks)
        with transaction.atomic(using=alias()) if in_transaction else nullcontext():
            is_written = write()
            if is_written and status is not None:
                signals.announce_finished(operation, status)
        if len(connections[alias()].atomic_blocks) != depth:
            raise TransactionManagementError("A function of the job left a transaction open.")
        # An error may have hidden that the last try was committed. Then the row shows it.
        return is_written or (tries > 1 and _is_stored(operation, status))

    try:
        return outages.keep_trying(operation.pk, commit)
    except Error as error:
        if connections[alias()].in_atomic_block or errors.is_refusal(error):
            raise
        if not is_in_callback():
            raise outages.away(operation.pk) from error
        if not errors.is_temporary(error):
            raise
        return _try_once_more(operation, commit, is_in_callback)


def _try_once_more(
    operation: Operation, commit: Callable[[], bool], is_in_callback: Callable[[], bool]
) -> bool:
    """Commit if the database is back. Only then an error in a callback is the job's own."""
    try:
        lifecycle.beat(operation)
    except Error as error:
        raise outages.away(operation.pk) from error
    try:
        return commit()
    except Error as error:
        if is_in_callback():
            raise
        raise outages.away(operation.pk) from error


def _is_stored(operation: Operation, status: Status | None) -> bool:
    """Whether this attempt reached its final `status`."""
    if status is None:
        return False
    if status is Status.SUCCEEDED:
        return results.is_stored(operation)
    row = Operation.objects.only("status", "attempt").get(pk=operation.pk)
    return bool(row.attempt == operation.attempt and row.status == status)
