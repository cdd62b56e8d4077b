"""Stores a step under the guard of its attempt, and keeps trying while the database is away."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext

from django.db import Error, connections, transaction

from async_reply import database, lifecycle
from async_reply.attempts import outages
from async_reply.attempts.claims import Claim
from async_reply.database import alias, errors, statements
from async_reply.database.leases import lease_seconds
from async_reply.database.shapes import Columns
from async_reply.models import Operation, OperationStep


def store(claim: Claim, row: OperationStep) -> None:
    """Store the step; raises ClaimLost, or DatabaseAway when the database is away for a lease."""
    operation, tries = claim.operation, 0

    def commit() -> bool:
        nonlocal tries
        tries += 1
        # An error may have hidden that the last try was committed. Then the row shows it.
        return (tries > 1 and _is_stored(row)) or write_once(operation, row, unsaved)

    with claim.storing() as unsaved:
        try:
            is_held = outages.keep_trying(operation.pk, commit)
        except Error as error:
            if connections[alias()].in_atomic_block or errors.is_refusal(error):
                raise
            raise outages.away(operation.pk) from error
        if not is_held:
            claim.lose()
        _remember(operation)


def store_atomically(
    claim: Claim, row: OperationStep, call: Callable[[], Exception | None]
) -> Exception | None:
    """Call the step's function and store the step in one transaction; returns what `call` does.

    `call` returns an exception that the step stores. Then the function's writes are rolled back,
    and the caller stores the step. The operation's row is locked for the last two statements only.
    After a conflict, and while the database is away, the whole step runs again.
    """
    give_up = time.monotonic() + lease_seconds()
    depth = len(connections[alias()].atomic_blocks)
    tries = 0
    while True:
        tries += 1
        try:
            if tries > 1 and _is_stored(row):
                _remember(claim.operation)
                return None
            with _alone(claim):
                return _once(claim, row, call)
        except Error as error:
            # The transaction of a caller, in a test for example, cannot begin anew.
            if depth or not errors.is_temporary(error):
                raise
            if time.monotonic() >= give_up:
                raise outages.away(claim.operation.pk) from error
            if not errors.is_conflict(error):
                database.disconnect()
                time.sleep(outages.PAUSE_SECONDS)


@contextmanager
def _alone(claim: Claim) -> Iterator[None]:
    """On SQLite a transaction locks the whole database: the heartbeat's thread writes nothing else.

    It would hold the claim's lock meanwhile, for which this thread would wait.
    """
    locks_rows = connections[alias()].features.has_select_for_update
    with claim.lock:
        claim.holds_database = not locks_rows
    try:
        yield
    finally:
        claim.holds_database = False


def _once(
    claim: Claim, row: OperationStep, call: Callable[[], Exception | None]
) -> Exception | None:
    with ExitStack() as until_commit:
        with transaction.atomic(using=alias()):
            cause = call()
            if cause is not None:
                transaction.set_rollback(True, using=alias())
                return cause
            unsaved = until_commit.enter_context(claim.storing())
            if not write_once(claim.operation, row, unsaved):
                claim.lose()
        _remember(claim.operation)
    return None


def _remember(operation: Operation) -> None:
    """The step is committed: the attempt's own copy of the row shows what has changed."""
    operation.steps += 1
    operation.losses = operation.retries = operation.idle_releases = 0


def write_once(operation: Operation, row: OperationStep, unsaved: Columns) -> bool:
    """Write the row and the operation's columns together; False if the guard did not match."""
    row.pk, row.ordinal = None, operation.steps + 1
    is_one_statement = row.file is None and statements.are_possible(alias())
    with nullcontext() if is_one_statement else transaction.atomic(using=alias()):
        if row.file is None:
            return lifecycle.store_step(operation, row, unsaved=unsaved)
        if not lifecycle.store_step(operation, unsaved=unsaved):
            return False
        row.file.pk = None
        row.file.save(force_insert=True)
        row.file_id = row.file.pk
        row.save(force_insert=True)
        return True


def _is_stored(row: OperationStep) -> bool:
    steps = OperationStep.objects.filter(operation_id=row.operation_id)
    return bool(steps.filter(name=row.name, attempt=row.attempt).exists())
