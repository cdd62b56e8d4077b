"""Changes the status of operations, for services, attempts and maintenance.

Each arrow of `status.TRANSITIONS` is one UPDATE with a guard, a condition with the values that the
caller has read. If the row has changed since, the guard does not match: the row stays as it is, and
the function returns False.

An attempt writes under a guard of its number and of an active status, since a rescued row keeps
the number until the next claim. Guards compare integers, statuses, and times that the database
wrote by its own clock.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeAlias
from uuid import UUID

from django.db import connections
from django.db.models import F, Model
from django.db.models.functions import Coalesce, Least

from async_reply import conf
from async_reply.database import alias, statements
from async_reply.database.clock import DatabaseNow, after
from async_reply.models import Operation, OperationResult
from async_reply.notifications import announcements
from async_reply.protocol import problems
from async_reply.status import ACTIVE, FINAL, TRANSITIONS, UNFINISHED, Status

#: Column, or column and lookup -> value.
Columns: TypeAlias = Mapping[str, Any]
#: The guard, and the changes.
Statement: TypeAlias = tuple[Columns, Columns]

NO_COLUMNS: Columns = {}

#: A tombstone holds neither the client's input nor the job's answer.
EMPTY_CONTENT: Columns = {"input": {}, "extra": {}, "error": None, "message": ""}

UNKNOWN_KIND_AFTER = timedelta(hours=1)


def lease() -> float:
    """Seconds for which a claim or a heartbeat holds an operation."""
    configured: float | None = conf.get("LEASE")
    if configured is not None:
        return configured
    return 60.0 if connections[alias()].vendor == "sqlite" else 20.0


def claim(operation: Operation, *, worker: str) -> bool:
    """pending → running: begin a new attempt; False if it is not due or has changed.

    `operation` then has the number of this attempt. The guard is `version`: the attempt ends by
    the budgets in `operation`, and a retry changes them without changing `attempt`.
    """
    claimed = _update(operation.pk, *_claim(operation, worker=worker))
    if claimed:
        operation.attempt += 1
        operation.version += 1
        operation.status = Status.RUNNING
        operation.worker = worker
    return claimed


def claim_unread(pk: UUID, *, worker: str, kind: str | None = None) -> Operation | None:
    """Claim an operation of this `kind`, or of any, and return its row; None if none is due.

    On PostgreSQL one statement does both: nobody can change the row between read and claim.
    """
    of_kind = {} if kind is None else {"kind": kind}
    if statements.are_possible(alias()):
        unread = Operation(pk=pk, version=F("version"), time_limit=F("time_limit"))
        guard, changes = _claim(unread, worker=worker)
        return _update_and_read(pk, {**guard, **of_kind}, changes)
    operation: Operation | None = Operation.objects.filter(pk=pk, **of_kind).first()
    return operation if operation is not None and claim(operation, worker=worker) else None


def beat(operation: Operation, *, progress: int | None = None, message: str | None = None) -> bool:
    """Renew the lease of an active attempt, up to its deadline; with a message, show progress."""
    changes: dict[str, Any] = {"lease_expires_at": Least(after(lease()), F("deadline_at"))}
    if message is not None:
        changes |= {"progress": progress, "message": message, **_new_version()}
    return _update(operation.pk, _held(operation), changes)


def succeed(
    operation: Operation, *, result: OperationResult | None = None, unsaved: Columns = NO_COLUMNS
) -> bool:
    """running, canceling → succeeded, and `result` is inserted.

    `unsaved`, here and below: columns `progress` and `message` that the row does not show yet.
    The caller opens the transaction. It may store the result itself, in the same transaction.
    """
    changes = {**unsaved, "progress": 100, **_finished(operation)}
    return _move(operation, Status.SUCCEEDED, _held(operation), insert=result, **changes)


def fail(operation: Operation, error: Mapping[str, Any], *, unsaved: Columns = NO_COLUMNS) -> bool:
    """running, canceling → failed, with an `error` that clients read."""
    changes = {**unsaved, "error": error, **_finished(operation)}
    return _move(operation, Status.FAILED, _held(operation), **changes)


def end_canceled(operation: Operation, *, unsaved: Columns = NO_COLUMNS) -> bool:
    """canceling → canceled: the attempt has stopped."""
    guard = _held(operation) | {"status__in": [Status.CANCELING]}
    return _move(operation, Status.CANCELED, guard, **unsaved, **_canceled(operation))


def retry(operation: Operation, *, delay: float, unsaved: Columns = NO_COLUMNS) -> bool:
    """running → pending after an error, in `delay` seconds, while retries are left."""
    guard = _held(operation) | {"status__in": [Status.RUNNING], "retries__lt": F("max_retries")}
    changes = {**unsaved, "retries": F("retries") + 1, **_again(delay)}
    return _move(operation, Status.PENDING, guard, **changes)


def release(operation: Operation, *, unsaved: Columns = NO_COLUMNS) -> bool:
    """running → pending because the worker stops. It counts as no retry and no loss."""
    guard = _held(operation) | {"status__in": [Status.RUNNING]}
    return _move(operation, Status.PENDING, guard, **unsaved, **_again(0))


def rescue(operation: Operation) -> Status | None:
    """Take the operation from an attempt whose lease is over, and return the new status.

    canceling → canceled. running → failed if the time limit has passed or no losses are left,
    else → pending. None if the lease is not over, or the attempt has ended.
    """
    guard = {"status": operation.status, "attempt": operation.attempt}
    guard["lease_expires_at__lte"] = DatabaseNow()
    if operation.status == Status.CANCELING:
        return _reached(operation, Status.CANCELED, guard, **_canceled(operation))
    overdue = guard | {"deadline_at__lte": DatabaseNow()}
    timed_out = problems.failure("timed-out", "The operation exceeded its time limit.")
    if _move(operation, Status.FAILED, overdue, error=timed_out, **_finished(operation)):
        operation.error = timed_out
        return Status.FAILED
    if operation.losses < operation.max_losses:
        return _reached(operation, Status.PENDING, guard, losses=F("losses") + 1, **_again(0))
    lost = problems.failure("worker-lost", "The worker was lost each time it ran the operation.")
    operation.error = lost
    return _reached(operation, Status.FAILED, guard, error=lost, **_finished(operation))


def expire_lease(pk: UUID, *, worker: str, timed_out: bool) -> bool:
    """End the lease of an attempt whose process is gone, so that a rescue takes the operation.

    `worker` is the process that claimed it: attempts of other processes keep their lease.
    """
    guard = {"worker": worker, "status__in": sorted(ACTIVE)}
    columns = ("lease_expires_at", "deadline_at") if timed_out else ("lease_expires_at",)
    return _update(pk, guard, dict.fromkeys(columns, DatabaseNow()))


def cancel(operation: Operation) -> bool:
    """pending → canceled, running → canceling; False if the status has changed.

    A pending operation is guarded by `attempt` too: some kinds can be canceled before their first
    attempt only.
    """
    now: dict[str, Any] = {"cancel_requested_at": DatabaseNow()}
    if operation.status == Status.PENDING:
        guard = {"status": Status.PENDING, "attempt": operation.attempt}
        return _move(operation, Status.CANCELED, guard, **now, **_canceled(operation))
    return _move(operation, Status.CANCELING, {"status": Status.RUNNING}, **now)


def reject(operation: Operation) -> bool:
    """pending → failed, if it has been due for an hour and no worker knows its kind."""
    guard = {"status": Status.PENDING, "available_at__lte": DatabaseNow() - UNKNOWN_KIND_AFTER}
    error = problems.failure("unknown-kind", "No worker knows this kind of operation.")
    return _move(operation, Status.FAILED, guard, error=error, **_finished(operation))


def reserve(operation: Operation) -> bool:
    """Mark a due operation as published, before its message is sent; False if another did so."""
    guard = {**_unclaimed(operation), "available_at__lte": DatabaseNow()}
    reserved = _update(
        operation.pk, guard, {"published_at": DatabaseNow(), "publishes": F("publishes") + 1}
    )
    if reserved:
        operation.publishes += 1
    return reserved


def hand_back(operation: Operation, *, delay: float = 0) -> bool:
    """Mark an operation as unpublished: the relay publishes it in `delay` seconds.

    False if it was published again or claimed in the meantime.
    """
    later = {"available_at": after(delay)} if delay else {}
    return _update(operation.pk, _unclaimed(operation), {"published_at": None, **later})


def expire(operation: Operation) -> bool:
    """Let an unfinished operation expire now. Its content is purged once it has finished."""
    guard = {"status__in": sorted(UNFINISHED)}
    return _update(operation.pk, guard, {"expires_at": DatabaseNow(), **_new_version()})


def purge(operation: Operation, *, only_expired: bool) -> bool:
    """Turn a finished operation into a tombstone; False if it is unfinished, or is one already.

    With `only_expired` it must have expired as well. The caller deletes the rows of its content.
    """
    guard: dict[str, Any] = {"status__in": sorted(FINAL), "deleted_at": None}
    if only_expired:
        guard["purge_at__lte"] = DatabaseNow()
    dates = {"deleted_at": DatabaseNow(), "purge_at": after(conf.get("TOMBSTONE"))}
    return _update(operation.pk, guard, {**dates, **EMPTY_CONTENT, **_new_version()})


def _update(pk: UUID, guard: Columns, changes: Columns, *, insert: Model | None = None) -> bool:
    """Write `changes`, and store `insert`, if the row matches the guard; whether it did."""
    row = {"pk": pk, **guard}
    matched = statements.update(Operation, alias(), row, changes, insert=insert)
    if matched:
        announcements.announce(pk, changes)
    return matched


def _update_and_read(pk: UUID, guard: Columns, changes: Columns) -> Operation | None:
    """Write `changes` if the row matches the guard, and return the row."""
    row = {"pk": pk, **guard}
    operation: Operation | None = statements.update_returning(Operation, alias(), row, changes)
    if operation is not None:
        announcements.announce(pk, changes)
    return operation


def _move(
    operation: Operation,
    target: Status,
    guard: Columns,
    *,
    insert: Model | None = None,
    **changes: Any,
) -> bool:
    return _update(operation.pk, *_arrow(target, guard, changes), insert=insert)


def _arrow(target: Status, guard: Columns, changes: Columns) -> Statement:
    sources = guard["status__in"] if "status__in" in guard else [guard["status"]]
    if not all(target in TRANSITIONS[Status(source)] for source in sources):
        raise ValueError(f"No arrow leads from {sources} to {target}: see status.TRANSITIONS.")
    return guard, {"status": target, **_new_version(), **changes}


def _reached(operation: Operation, target: Status, guard: Columns, **changes: Any) -> Status | None:
    return target if _move(operation, target, guard, **changes) else None


def _claim(operation: Operation, *, worker: str) -> Statement:
    guard = {"status": Status.PENDING, "version": operation.version}
    guard["available_at__lte"] = DatabaseNow()
    changes = {
        "attempt": F("attempt") + 1,
        "worker": worker,
        "started_at": DatabaseNow(),
        "deadline_at": after(operation.time_limit),
        "lease_expires_at": Least(after(lease()), after(operation.time_limit)),
        "progress": None,
        "message": "",
    }
    return _arrow(Status.RUNNING, guard, changes)


def _held(operation: Operation) -> dict[str, Any]:
    """The guard of the attempt that holds the operation."""
    return {"attempt": operation.attempt, "status__in": sorted(ACTIVE)}


def _unclaimed(operation: Operation) -> dict[str, Any]:
    """The guard of a pending operation that was neither published nor claimed since it was read."""
    counters = {"publishes": operation.publishes, "attempt": operation.attempt}
    return {"status": Status.PENDING, **counters}


def _new_version() -> dict[str, Any]:
    return {"version": F("version") + 1, "updated_at": DatabaseNow()}


def _finished(operation: Operation) -> dict[str, Any]:
    seconds = conf.get("RETENTION") if operation.retention is None else operation.retention
    # `expire` may have set a date already.
    end = Coalesce(F("expires_at"), after(seconds))
    dates = {"finished_at": DatabaseNow(), "expires_at": end, "purge_at": end}
    return {**dates, "lease_expires_at": None}


def _canceled(operation: Operation) -> dict[str, Any]:
    error = problems.failure("operation-canceled", "The operation was canceled.")
    return {"error": error, **_finished(operation)}


def _again(delay: float) -> dict[str, Any]:
    return {"available_at": after(delay), "published_at": None, "lease_expires_at": None}
