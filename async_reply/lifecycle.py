"""Changes the status of operations, for services, attempts and maintenance.

Each arrow of `status.TRANSITIONS` is one UPDATE with a guard, a condition with the values that the
caller has read. If the row has changed since, the guard does not match: the row stays as it is, and
the function returns False.

An attempt writes under a guard of its number and of an active status, since a rescued row keeps
the number until the next claim. Guards compare integers, statuses, and times that the database
wrote by its own clock.
"""

from collections.abc import Collection, Mapping
from typing import Any, TypeAlias
from uuid import UUID

from django.db.models import F, Model

from async_reply import columns
from async_reply.database import alias, statements
from async_reply.database.clock import after
from async_reply.database.shapes import NO_COLUMNS, Columns
from async_reply.models import Operation, OperationResult, OperationStep
from async_reply.notifications import announcements
from async_reply.protocol import problems
from async_reply.status import ACTIVE, FINAL, TRANSITIONS, UNFINISHED, Status

#: The guard, and the changes.
Statement: TypeAlias = tuple[Columns, Columns]


def claim(operation: Operation, *, worker: str) -> bool:
    """pending → running: begin a new attempt; False if it is not due or has changed.

    `operation` then has the number of this attempt. The guard is `version`: the attempt ends by
    the budgets in `operation`, and a retry changes them without changing `attempt`.
    """
    claimed = _update(operation.pk, *_claim(operation.version, operation.time_limit, worker=worker))
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
        guard, changes = _claim(F("version"), F("time_limit"), worker=worker)
        return _update_and_read(pk, {**guard, **of_kind}, changes)
    operation: Operation | None = Operation.objects.filter(pk=pk, **of_kind).first()
    return operation if operation is not None and claim(operation, worker=worker) else None


def beat(
    operation: Operation, *, progress: int | None = None, message: str | None = None, **kept: Any
) -> bool:
    """Renew the lease of an active attempt, up to its deadline; with a message, show progress."""
    changes = {**kept, **columns.renewed()}
    if message is not None:
        changes |= {"progress": progress, "message": message, **columns.NEW_VERSION}
    return _update(operation.pk, _held(operation), changes)


def store_step(
    operation: Operation, step: OperationStep | None = None, *, unsaved: Columns = NO_COLUMNS
) -> bool:
    """Insert `step` for an active attempt, renew the lease, and give back both budgets.

    The caller opens a transaction where two statements need one, or where it inserts the step.
    """
    changes: dict[str, Any] = {
        **unsaved,
        **columns.renewed(),
        **columns.FURTHER,
        "steps": F("steps") + 1,
    }
    if "message" in unsaved:
        changes |= columns.NEW_VERSION
    return _update(operation.pk, _held(operation), changes, insert=step)


def succeed(
    operation: Operation, *, result: OperationResult | None = None, unsaved: Columns = NO_COLUMNS
) -> bool:
    """running, canceling → succeeded, and `result` is inserted.

    `unsaved`, here and below: columns `progress` and `message` that the row does not show yet.
    The caller opens the transaction. It may store the result itself, in the same transaction.
    """
    changes = {**unsaved, "progress": 100, **columns.finished(operation)}
    return _move(operation, Status.SUCCEEDED, _held(operation), insert=result, **changes)


def fail(operation: Operation, error: Mapping[str, Any], *, unsaved: Columns = NO_COLUMNS) -> bool:
    """running, canceling → failed, with an `error` that clients read."""
    changes = {**unsaved, "error": error, **columns.finished(operation)}
    return _move(operation, Status.FAILED, _held(operation), **changes)


def end_canceled(operation: Operation, *, unsaved: Columns = NO_COLUMNS) -> bool:
    """canceling → canceled: the attempt has stopped."""
    guard = _held(operation) | {"status__in": [Status.CANCELING]}
    return _move(operation, Status.CANCELED, guard, **unsaved, **columns.canceled(operation))


def retry(operation: Operation, *, delay: float, unsaved: Columns = NO_COLUMNS) -> bool:
    """running → pending after an error, in `delay` seconds, while retries are left."""
    guard = _held(operation) | {"status__in": [Status.RUNNING], "retries__lt": F("max_retries")}
    counts = {"retries": F("retries") + 1, "total_retries": F("total_retries") + 1}
    changes = {**unsaved, **counts, **columns.again(operation, delay)}
    return _move(operation, Status.PENDING, guard, **changes)


def release(operation: Operation, *, unsaved: Columns = NO_COLUMNS) -> bool:
    """running → pending: the worker stops, or half of the time is over. It costs no budget."""
    guard = _held(operation) | {"status__in": [Status.RUNNING]}
    idle_releases = unsaved.get("idle_releases", F("idle_releases")) + 1
    changes = {**unsaved, "idle_releases": idle_releases, **columns.again(operation)}
    return _move(operation, Status.PENDING, guard, **changes)


def pause(
    operation: Operation, sort: str, paused: Columns, *, is_further: bool, unsaved: Columns
) -> bool:
    """running → pending by `columns.paused`; `is_further`: the caller inserts the pause's row."""
    guard = _held(operation) | {"status__in": [Status.RUNNING]}
    further = {**columns.FURTHER, "steps": F("steps") + 1} if is_further else {}
    changes = {**unsaved, **further, "pause": sort, **paused}
    return _move(operation, Status.PENDING, guard, **changes)


def answer(operation: Operation) -> bool:
    """Mark an operation whose job asks as due and published; False if it does not ask any more."""
    guard = {"status": Status.PENDING, "attempt": operation.attempt, "pause": "question"}
    return _update(operation.pk, guard, columns.answered(operation))


def rescue(operation: Operation) -> Status | None:
    """Take the operation from an attempt whose lease is over, and return the new status.

    canceling → canceled. running → failed if the time limit has passed or no losses are left,
    else → pending. None if the lease is not over, or the attempt has ended.
    """
    guard = {"status": operation.status, "attempt": operation.attempt}
    guard["lease_expires_at__lte"] = columns.NOW
    if operation.status == Status.CANCELING:
        return _reached(operation, Status.CANCELED, guard, **columns.canceled(operation))
    overdue = guard | {"deadline_at__lte": columns.NOW}
    timed_out = columns.timed_out(operation)
    if _move(operation, Status.FAILED, overdue, error=timed_out, **columns.finished(operation)):
        operation.error = timed_out
        return Status.FAILED
    if operation.losses < operation.max_losses and not columns.is_spent(operation):
        counts = {"losses": F("losses") + 1, "total_losses": F("total_losses") + 1}
        return _reached(operation, Status.PENDING, guard, **counts, **columns.again(operation))
    lost = problems.failure("worker-lost", "The worker was lost each time it ran the operation.")
    operation.error = lost
    return _reached(operation, Status.FAILED, guard, error=lost, **columns.finished(operation))


def expire_lease(pk: UUID, *, worker: str, timed_out: bool) -> bool:
    """End the lease of an attempt whose process is gone, so that a rescue takes the operation.

    `worker` is the process that claimed it: attempts of other processes keep their lease.
    """
    guard = {"worker": worker, "status__in": sorted(ACTIVE)}
    times = ("lease_expires_at", "deadline_at") if timed_out else ("lease_expires_at",)
    return _update(pk, guard, dict.fromkeys(times, columns.NOW))


def cancel(operation: Operation) -> bool:
    """pending → canceled, running → canceling; False if the status or the attempt has changed."""
    now: dict[str, Any] = {"cancel_requested_at": columns.NOW}
    if operation.status == Status.PENDING:
        # Some kinds can be canceled before their first attempt only.
        guard = {"status": Status.PENDING, "attempt": operation.attempt}
        return _move(operation, Status.CANCELED, guard, **now, **columns.canceled(operation))
    return _move(operation, Status.CANCELING, {"status": Status.RUNNING}, **now)


def reject(operation: Operation) -> bool:
    """pending → failed, if it has been due for an hour and no worker knows its kind."""
    since = columns.NOW - columns.UNKNOWN_KIND_AFTER
    guard = {"status": Status.PENDING, "available_at__lte": since}
    error = problems.failure("unknown-kind", "No worker knows this kind of operation.")
    return _move(operation, Status.FAILED, guard, error=error, **columns.finished(operation))


def give_up(operation: Operation) -> bool:
    """pending → failed, if the time of all its attempts together is over."""
    guard = {"status": Status.PENDING, "attempt": operation.attempt}
    guard |= {"available_at__lte": columns.NOW, "give_up_at__lte": columns.NOW}
    changes = {"error": columns.given_up(), **columns.finished(operation)}
    return _move(operation, Status.FAILED, guard, **changes)


def reserve(operation: Operation) -> bool:
    """Mark a due operation as published, before its message is sent; False if another did so."""
    guard = {**_unclaimed(operation), "available_at__lte": columns.NOW}
    reserved = _update(operation.pk, guard, columns.published())
    if reserved:
        operation.publishes += 1
    return reserved


def hand_back(operation: Operation, *, delay: float = 0) -> bool:
    """Mark an operation as unpublished: the relay publishes it in `delay` seconds.

    False if it was published again or claimed in the meantime.
    """
    later = {"published_at": None} | ({"available_at": after(delay)} if delay else {})
    return _update(operation.pk, _unclaimed(operation), later)


def expire(operation: Operation) -> bool:
    """Let an unfinished operation expire now. Its content is purged once it has finished."""
    guard = {"status__in": sorted(UNFINISHED)}
    return _update(operation.pk, guard, {"expires_at": columns.NOW, **columns.NEW_VERSION})


def purge(operation: Operation, *, only_expired: bool) -> bool:
    """Turn a finished operation into a tombstone; False if it is unfinished, or is one already.

    With `only_expired` it must have expired as well. The caller deletes the rows of its content.
    """
    return _update(operation.pk, *_purge(only_expired=only_expired))


def purge_all(pks: Collection[UUID]) -> int:
    """Turn those that have expired into tombstones, unannounced; returns how many."""
    return _update_all(pks, *_purge(only_expired=True))


def _update(pk: UUID, guard: Columns, changes: Columns, *, insert: Model | None = None) -> bool:
    """Write `changes`, and store `insert`, if the row matches the guard; whether it did."""
    matched = statements.update(Operation, alias(), {"pk": pk, **guard}, changes, insert=insert)
    if matched:
        announcements.announce(pk, changes)
    return matched


def _update_all(pks: Collection[UUID], guard: Columns, changes: Columns) -> int:
    return int(Operation.objects.filter(pk__in=pks, **guard).update(**changes))


def _update_and_read(pk: UUID, guard: Columns, changes: Columns) -> Operation | None:
    """Write `changes` if the row matches the guard, and return the row."""
    returned = statements.update_returning(Operation, alias(), {"pk": pk, **guard}, changes)
    operation: Operation | None = returned
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
    return guard, {"status": target, **columns.NEW_VERSION, **changes}


def _reached(operation: Operation, target: Status, guard: Columns, **changes: Any) -> Status | None:
    return target if _move(operation, target, guard, **changes) else None


def _claim(version: int | F, time_limit: int | F, *, worker: str) -> Statement:
    guard = {"status": Status.PENDING, "version": version, "available_at__lte": columns.NOW}
    return _arrow(Status.RUNNING, guard, columns.claimed(time_limit, worker=worker))


def _purge(*, only_expired: bool) -> Statement:
    due = {"purge_at__lte": columns.NOW} if only_expired else {}
    return {"status__in": sorted(FINAL), "deleted_at": None, **due}, columns.purged()


def _held(operation: Operation) -> dict[str, Any]:
    """The guard of the attempt that holds the operation."""
    return {"attempt": operation.attempt, "status__in": sorted(ACTIVE)}


def _unclaimed(operation: Operation) -> dict[str, Any]:
    """The guard of a pending operation that was neither published nor claimed since it was read."""
    counts = {"publishes": operation.publishes, "attempt": operation.attempt}
    return {"status": Status.PENDING, **counts}
