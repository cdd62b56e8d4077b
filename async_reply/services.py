"""What the web side and the admin do with operations; usable without HTTP."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from async_reply import (
    broker,
    conf,
    files,
    histories,
    intake,
    lifecycle,
    payloads,
    retention,
    signals,
)
from async_reply.clock import DatabaseNow, as_stored
from async_reply.exceptions import (
    AlreadyFinished,
    NotCancelable,
    NotFinished,
    OperationGone,
    UnknownKind,
)
from async_reply.idempotency import IdempotencyKey
from async_reply.logs import logger
from async_reply.models import OWNER_LENGTH, Operation, OperationFile
from async_reply.quotas import Quota
from async_reply.status import FINAL, Status
from async_reply.tasks import OperationTask, get_task

LONGEST_KEY = 100
#: Dates that each database and Python read, in whichever time zone.
YEARS = range(1970, 9999)


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
    plain, uploads = files.take(dict(values))
    task.kind.check_input(plain)
    operation.input = payloads.to_json(plain, limit=conf.get("MAX_INPUT"))
    operation.extra = payloads.to_json(dict(extra or {}), limit=conf.get("MAX_INPUT"))
    _configure(operation, task, available_at=available_at)
    if key is not None:
        operation.idempotency_digest, operation.fingerprint = key.digest, key.fingerprint
    stored = _store_uploads(operation, uploads)
    try:
        earlier = intake.once(operation, stored, perform=perform, key=key, quota=quota)
    except BaseException:
        files.remove(stored)
        raise
    if earlier is not None:
        files.remove(stored)
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


def cancel(operation: Operation) -> Status:
    """Cancel a pending operation, or ask a running one to stop; the status reached.

    Canceling again changes nothing. Raises AlreadyFinished when it succeeded or failed,
    NotCancelable when it has begun and its kind cannot be stopped.
    """
    while operation.status not in FINAL and operation.status != Status.CANCELING:
        if has_begun(operation) and not is_cancelable(operation):
            raise NotCancelable("This operation has begun and cannot be canceled.")
        if lifecycle.cancel(operation):
            logger.info("Operation id=%s kind=%s cancel", operation.pk, operation.kind)
            operation.refresh_from_db(fields=CHANGED_BY_CANCEL)
            if operation.status == Status.CANCELED:
                signals.announce_finished(operation, Status.CANCELED)
        else:
            operation.refresh_from_db(fields=CHANGED_BY_CANCEL)
    status = Status(operation.status)
    if status in FINAL and status != Status.CANCELED:
        raise AlreadyFinished(f"The operation has already {status.value}.")
    return status


def has_begun(operation: Operation) -> bool:
    """Whether an attempt was made at it, which may be in the middle of its work for good."""
    return operation.attempt > 0 or operation.status == Status.RUNNING


def is_cancelable(operation: Operation) -> bool:
    """Whether its kind lets an operation be stopped that has begun, waiting for a retry too."""
    try:
        return get_task(operation.kind).kind.cancel != "never"
    except UnknownKind:
        return True


def rerun(operation: Operation) -> Operation:
    """Submit a finished operation's input again, as a new operation.

    Raises NotFinished while it has no outcome, OperationGone when its input was purged,
    UnknownKind when its task is gone, StorageFailed when its files cannot be copied.
    """
    if operation.status not in FINAL:
        raise NotFinished("Only a finished operation can be rerun: cancel it first, or wait.")
    if operation.is_gone:
        raise OperationGone("The operation's input was removed: submit it anew.")
    task = get_task(operation.kind)
    again = Operation(
        owner=operation.owner,
        view=operation.view,
        reply=operation.reply,
        input=operation.input,
        extra=operation.extra,
        retention=operation.retention,
        rerun_of=operation,
    )
    _configure(again, task, available_at=None)
    copies: list[OperationFile] = []
    try:
        for row in operation.files.filter(role=OperationFile.Role.INPUT):
            with files.opened_for_reading(row) as content:
                copies.append(_store_input(again, row.field, content, row.name, row.content_type))
        intake.insert(again, copies)
    except BaseException:
        files.remove(copies)
        raise
    return again


def delete(operation: Operation) -> None:
    """Remove all that a finished operation was given and has said; a tombstone keeps its key.

    Raises NotFinished while it has no outcome.
    """
    if operation.status not in FINAL:
        raise NotFinished("Only a finished operation can be deleted: cancel it first, or wait.")
    if retention.bury(operation, expired=False):
        logger.info("Operation id=%s kind=%s deleted", operation.pk, operation.kind)


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


def _configure(
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
    operation.reply = {**operation.reply, histories.KEY: key}


def _store_uploads(operation: Operation, uploads: Mapping[str, Any]) -> list[OperationFile]:
    stored: list[OperationFile] = []
    try:
        for path, upload in uploads.items():
            content_type = upload.content_type or ""
            stored.append(_store_input(operation, path, upload, upload.name, content_type))
    except BaseException:
        files.remove(stored)
        raise
    return stored


def _store_input(
    operation: Operation, field: str, content: files.Stream, name: str, content_type: str
) -> OperationFile:
    return files.store(
        operation,
        content,
        role=OperationFile.Role.INPUT,
        field=field,
        name=name,
        content_type=content_type[:255],
    )
