"""The way of a new operation into the tables: one row a key, within the quota, then published."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import Error, IntegrityError, connections, transaction

from async_reply import conf, signals
from async_reply.database import alias, errors, payloads
from async_reply.database.clock import DatabaseNow, as_stored
from async_reply.files import inputs, store
from async_reply.logs import logger
from async_reply.models import ESTIMATE_KEY, OWNER_LENGTH, Operation, OperationFile
from async_reply.publishing import broker, relay
from async_reply.services.idempotency import IdempotencyKey
from async_reply.services.quotas import Quota
from async_reply.tasks import OperationTask

LONGEST_KEY = 100
#: Dates that each database and Python read, in whichever time zone.
YEARS = range(1970, 9999)
Perform = Callable[[Operation], object]

TRIES = 5


@dataclass(frozen=True)
class Submitted:
    """An operation, and whether an earlier request with the same key had made it."""

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
    perform: Callable[[Operation], object] | None = None,
) -> Operation:
    """Store an operation and publish it once the transaction has committed.

    `input` becomes the job's keyword arguments; uploads in it go to the storage. `perform` is
    called with the new row inside the same transaction. `available_at` without an offset is in
    TIME_ZONE. The result is kept for `retention`
    seconds, by default as the kind or the setting says. With a `key` the operation it made before
    is returned. Raises ValueError for an owner over 255 characters and for `available_at` outside
    of the years 1970 to 9998, TypeError when the task does not take `input`, PayloadError or
    PayloadTooLarge when it cannot be stored, StorageFailed for the uploads, KeyReused and
    OperationGone for the key.
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
    perform: Callable[[Operation], object] | None = None,
    quota: Quota | None = None,
) -> Submitted:
    """`submit` that also says whether the operation is a replay.

    With a `quota` the operation is stored within its bound, to the letter, or QuotaExceeded raised.
    """
    _check_bounds(operation.owner, available_at)
    plain, uploads = inputs.take(dict(values))
    task.kind.check_input(plain)
    operation.input = payloads.to_json(plain, limit=conf.get("MAX_INPUT"))
    operation.extra = payloads.to_json(dict(extra or {}), limit=conf.get("MAX_INPUT"))
    configure(operation, task, available_at=available_at)
    if key is not None:
        operation.idempotency_digest, operation.fingerprint = key.digest, key.fingerprint
    stored = inputs.store_uploads(operation, uploads)
    try:
        earlier = once(operation, stored, perform=perform, key=key, quota=quota)
    except BaseException:
        store.remove(stored)
        raise
    if earlier is not None:
        store.remove(stored)
        return Submitted(earlier, replayed=True)
    return Submitted(operation)


def _check_bounds(owner: str, available_at: datetime | None) -> None:
    if len(owner) > OWNER_LENGTH:
        raise ValueError(
            f"An owner has at most {OWNER_LENGTH} characters: see OperationAccess.get_owner."
        )
    # An expression, such as the database's own clock, is the database's to refuse.
    if isinstance(available_at, datetime) and available_at.year not in YEARS:
        raise ValueError(f"available_at={available_at} is not in the years 1970 to 9998.")


def configure(
    operation: Operation, task: OperationTask[..., Any], *, available_at: datetime | None
) -> None:
    """Freeze what the task says today into the row, and reserve the first publish."""
    kind = task.kind
    operation.kind = task.name
    operation.max_retries = kind.max_retries
    operation.max_losses = kind.max_losses
    operation.time_limit = kind.time_limit
    if operation.retention is None:
        operation.retention = kind.retention
    _classify(operation, task)
    operation.queue = kind.queue
    operation.priority = kind.priority
    if available_at is not None:
        # Django would keep the object's as it came, and it could not be compared with others.
        is_date = isinstance(available_at, datetime)
        operation.available_at = as_stored(available_at) if is_date else available_at
    elif not broker.breaker.is_open:
        operation.published_at = DatabaseNow()
        operation.publishes = 1


def _classify(operation: Operation, task: OperationTask[..., Any]) -> None:
    """Keep what the kind's `get_estimate_key` says; an estimate is not worth a refused submit."""
    if task.kind.get_estimate_key is None:
        return
    try:
        key = str(task.kind.get_estimate_key(operation))[:LONGEST_KEY]
    except Exception:
        logger.exception("get_estimate_key of %s failed", task.name)
        return
    operation.reply = {**operation.reply, ESTIMATE_KEY: key}


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
    using = alias()
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
    return errors.is_conflict(error) and not connections[alias()].in_atomic_block


def _announce(operation: Operation) -> None:
    logger.info("Operation id=%s kind=%s submitted", operation.pk, operation.kind)
    signals.send(signals.operation_submitted, operation)
