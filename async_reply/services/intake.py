"""Submits operations: stores a new row, or finds the one with the same key, and publishes it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import Error, IntegrityError, connections, transaction

from async_reply import conf, signals, traces
from async_reply.database import alias, errors, inserts, payloads
from async_reply.database.clock import DatabaseNow, after, as_stored
from async_reply.files import inputs, store
from async_reply.logs import logger
from async_reply.models import ESTIMATE_KEY, OWNER_LENGTH, Operation, OperationFile
from async_reply.publishing import broker, relay
from async_reply.services import additions
from async_reply.services.idempotency import IdempotencyKey
from async_reply.services.quotas import Quota
from async_reply.tasks import OperationTask

#: Characters of a `get_estimate_key` that are stored.
MAX_ESTIMATE_KEY_LENGTH = 100
#: Years that Python and each database can read in any time zone.
YEARS = range(1970, 9999)
#: How often an insert is tried that conflicts with other submits.
INSERT_TRIES = 5

Perform = Callable[[Operation], object]


@dataclass(frozen=True)
class Submitted:
    """An operation, and whether an earlier request with the same key had submitted it."""

    operation: Operation
    replayed: bool = False


def submit(
    task: OperationTask[..., Any],
    *,
    input: Mapping[str, Any] | None = None,
    owner: str = "",
    available_at: datetime | None = None,
    retention: int | None = None,
    view: str = "",
    reply: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
    key: IdempotencyKey | None = None,
    perform: Perform | None = None,
) -> Operation:
    """Store an operation, and publish it once the transaction has committed.

    `input` becomes the job's keyword arguments; uploads in it go to the storage. `perform` is
    called with the new row inside the same transaction. `available_at` without an offset is in
    TIME_ZONE. The result is kept for `retention` seconds, by default as the kind or the setting
    says. If an operation with this `key` exists, it is returned instead.

    Raises ValueError for an owner over 255 characters and for `available_at` outside of the years
    1970 to 9998, TypeError if the task does not take `input`, PayloadError or PayloadTooLarge if
    `input` cannot be stored, StorageFailed for the uploads, KeyReused and OperationGone for the
    key.
    """
    return accept(
        task,
        values=input or {},
        operation=Operation(owner=owner, view=view, reply=dict(reply or {}), retention=retention),
        available_at=available_at,
        extra=extra,
        key=key,
        perform=perform,
    ).operation


def accept(
    task: OperationTask[..., Any],
    *,
    values: Mapping[str, Any],
    operation: Operation,
    available_at: datetime | None = None,
    extra: Mapping[str, Any] | None = None,
    key: IdempotencyKey | None = None,
    perform: Perform | None = None,
    quota: Quota | None = None,
) -> Submitted:
    """Do as `submit`, and say whether the operation is a replay.

    Raises QuotaExceeded if the operation would be one too many under `quota`.
    """
    _check_bounds(operation.owner, available_at)
    plain, uploads = inputs.take(dict(values))
    task.kind.check_input(plain)
    operation.input = payloads.to_json(plain, limit=conf.get("MAX_INPUT"))
    if extra:
        operation.extra = payloads.to_json(dict(extra), limit=conf.get("MAX_INPUT"))
    configure(operation, task, available_at=available_at)
    if key is not None:
        operation.idempotency_digest, operation.fingerprint = key.digest, key.fingerprint
    stored = inputs.store_uploads(operation, uploads)
    try:
        with traces.tracer.submit(operation):
            earlier = insert_once(operation, stored, perform=perform, key=key, quota=quota)
    except BaseException:
        store.delete(stored)
        raise
    if earlier is not None:
        store.delete(stored)
        return Submitted(earlier, replayed=True)
    return Submitted(operation)


def _check_bounds(owner: str, available_at: datetime | None) -> None:
    if len(owner) > OWNER_LENGTH:
        raise ValueError(
            f"An owner has at most {OWNER_LENGTH} characters: see OperationAccess.get_owner."
        )
    # It may be an expression, such as the database's own clock.
    if isinstance(available_at, datetime) and available_at.year not in YEARS:
        raise ValueError(f"available_at={available_at} is not in the years 1970 to 9998.")


def configure(
    operation: Operation, task: OperationTask[..., Any], *, available_at: datetime | None
) -> None:
    """Copy the task's options into the row, and mark it as published unless it is for later.

    The row keeps these options when the task's own change.
    """
    kind = task.kind
    operation.kind = task.name
    operation.max_retries = kind.max_retries
    operation.max_losses = kind.max_losses
    operation.time_limit = kind.time_limit
    if operation.retention is None:
        operation.retention = kind.retention
    _set_estimate_key(operation, task)
    operation.queue = kind.queue
    operation.priority = kind.priority
    if available_at is not None:
        # A date that Django has stored keeps its time zone on the object, and a naive one none.
        is_date = isinstance(available_at, datetime)
        operation.available_at = as_stored(available_at) if is_date else available_at
    elif not broker.breaker.is_open:
        operation.published_at = DatabaseNow()
        operation.publishes = 1
    if kind.total_time_limit is not None:
        operation.give_up_at = _give_up_at(available_at, kind.total_time_limit)


def _give_up_at(available_at: Any, seconds: int) -> Any:
    """`seconds` after the operation may start: a date, or an expression for the database."""
    if available_at is None:
        return after(seconds)
    if isinstance(available_at, datetime):
        moment = as_stored(available_at).timestamp() + seconds
        return as_stored(datetime.fromtimestamp(moment, UTC))
    return available_at + timedelta(seconds=seconds)


def _set_estimate_key(operation: Operation, task: OperationTask[..., Any]) -> None:
    """Store the answer of the kind's `get_estimate_key`. An error there refuses no submit."""
    if task.kind.get_estimate_key is None:
        return
    try:
        key = str(task.kind.get_estimate_key(operation))[:MAX_ESTIMATE_KEY_LENGTH]
    except Exception:
        logger.exception("get_estimate_key of %s failed", task.name)
        return
    operation.reply = {**operation.reply, ESTIMATE_KEY: key}


class KeyTaken(IntegrityError):
    """Another operation has this key."""


def insert_once(
    operation: Operation,
    files: Sequence[OperationFile],
    *,
    perform: Perform | None,
    key: IdempotencyKey | None,
    quota: Quota | None,
) -> Operation | None:
    """Insert the rows, or return the operation that has this key already.

    Tries again if that operation was purged in the meantime, and if the database refused the
    insert because of other transactions.
    """
    tries_left = INSERT_TRIES
    while True:
        tries_left -= 1
        try:
            insert(operation, files, perform=perform, quota=quota)
        except KeyTaken:
            earlier = key.find() if key is not None else None
            if earlier is not None:
                return earlier
            if not tries_left:
                raise
        except Error as error:
            if not tries_left or not _may_try_again(error):
                raise
        else:
            return None


def insert(
    operation: Operation,
    files: Sequence[OperationFile],
    *,
    perform: Perform | None = None,
    quota: Quota | None = None,
) -> None:
    """Store the rows and call `perform` in one transaction, and publish after its commit.

    A single row needs no transaction of its own, unless the caller has one: it must outlast a
    taken key.

    Raises KeyTaken if the key has a row, QuotaExceeded if it is one too many under `quota`.
    """
    operation.input_files = len(files)
    connection = connections[alias()]
    # `set_autocommit(False)` opens a transaction of the caller, too.
    is_in_transaction = connection.in_atomic_block or not connection.get_autocommit()
    needs_transaction = is_in_transaction or bool(files or perform or quota or additions.functions)
    with _transaction(quota) if needs_transaction else nullcontext():
        additions.add(operation)
        _insert_row(operation)
        if quota is not None:
            quota.check_inserted()
        for row in files:
            # The row keeps its number after a rollback. Another row may have it by now.
            row.pk = None
            row.save(force_insert=True)
        if perform is not None:
            perform(operation)
        if operation.publishes > 0:
            relay.publish_on_commit(operation)
        transaction.on_commit(lambda: _announce(operation), using=alias(), robust=True)


def _transaction(quota: Quota | None) -> AbstractContextManager[None]:
    return transaction.atomic(using=alias()) if quota is None else quota.turn()


def _insert_row(operation: Operation) -> None:
    try:
        inserts.insert(operation, alias())
    except IntegrityError as error:
        if operation.idempotency_digest is None:
            raise
        raise KeyTaken(*error.args) from error


def _may_try_again(error: Error) -> bool:
    """Whether the database refused the transaction because of others, and it is our own.

    On MariaDB several inserts of one key wait for the first. If that is rolled back, they
    deadlock, and MariaDB refuses all except one. So it does when a tombstone with the key goes.
    """
    return errors.is_conflict(error) and not connections[alias()].in_atomic_block


def _announce(operation: Operation) -> None:
    logger.event("submitted", operation, published=operation.published_at is not None)
    signals.send(signals.operation_submitted, operation)
