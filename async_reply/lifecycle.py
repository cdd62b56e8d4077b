"""The arrows between statuses. Each is one guarded UPDATE that says whether it changed its row.

Functions take the operation as it was read. The guard repeats what the decision rests on: where
the row has changed since, it is left alone, and the function returns False. Writes of a worker are
guarded by `attempt` and status, since a rescued row keeps its attempt until the next claim.
Guards compare integers, statuses, and times that the database wrote by its own clock.
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
from async_reply.status import ACTIVE, FINAL, TRANSITIONS, Status

#: What a row must be, and what it becomes.
Statement: TypeAlias = tuple[Mapping[str, Any], Mapping[str, Any]]

#: What a tombstone holds where an operation has what it was given, and what its job said.
NOTHING: Mapping[str, Any] = {"input": {}, "extra": {}, "error": None, "message": ""}

UNKNOWN_KIND_AFTER = timedelta(hours=1)


def lease() -> float:
    """Seconds for which a heartbeat holds an operation."""
    configured: float | None = conf.get("LEASE")
    if configured is not None:
        return configured
    return 60.0 if connections[alias()].vendor == "sqlite" else 20.0


def claim(operation: Operation, *, worker: str) -> bool:
    """pending → running: a new attempt, unless the operation is not due or has moved on.

    The snapshot then speaks for this attempt. Guarded by `version`, since the budgets in it
    decide how the attempt may end: `attempt` would let one pass that was read before a retry.
    """
    claimed = _update(operation.pk, *_claim(operation, worker=worker))
    if claimed:
        operation.attempt += 1
        operation.version += 1
        operation.status = Status.RUNNING
        operation.worker = worker
    return claimed


def claim_unread(pk: UUID, *, worker: str, kind: str | None = None) -> Operation | None:
    """Read and claim; in one statement where the database can, which leaves nothing between.

    With a `kind`, an operation of that kind alone.
    """
    of_kind = {} if kind is None else {"kind": kind}
    if statements.are_possible(alias()):
        unread = Operation(pk=pk, version=F("version"), time_limit=F("time_limit"))
        guard, changes = _claim(unread, worker=worker)
        return _update_and_read(pk, {**guard, **of_kind}, changes)
    operation: Operation | None = Operation.objects.filter(pk=pk, **of_kind).first()
    return operation if operation is not None and claim(operation, worker=worker) else None


def beat(operation: Operation, *, progress: int | None = None, message: str | None = None) -> bool:
    """Renew the lease of a running attempt, never past its deadline; with news, show them."""
    changes: dict[str, Any] = {"lease_expires_at": Least(after(lease()), F("deadline_at"))}
    if message is not None:
        changes |= {"progress": progress, "message": message, **_visible()}
    return _update(operation.pk, _mine(operation), changes)


def succeed(
    operation: Operation, *, result: OperationResult | None = None, told: Mapping[str, Any] = {}
) -> bool:
    """running, canceling → succeeded, and `result` is inserted.

    `told` is the `progress` and `message` that the row does not show yet, here and below.
    The transaction is the caller's, who stores the result in it where there is more to store.
    """
    changes = {**told, "progress": 100, **_finished(operation)}
    return _move(operation, Status.SUCCEEDED, _mine(operation), insert=result, **changes)


def fail(operation: Operation, error: Mapping[str, Any], *, told: Mapping[str, Any] = {}) -> bool:
    """running, canceling → failed, with the `error` a client may read."""
    changes = {**told, "error": error, **_finished(operation)}
    return _move(operation, Status.FAILED, _mine(operation), **changes)


def end_canceled(operation: Operation, *, told: Mapping[str, Any] = {}) -> bool:
    """canceling → canceled: the attempt has stopped."""
    guard = _mine(operation) | {"status__in": [Status.CANCELING]}
    return _move(operation, Status.CANCELED, guard, **told, **_canceled(operation))


def retry(operation: Operation, *, delay: float, told: Mapping[str, Any] = {}) -> bool:
    """running → pending after an error, within the budget; not while canceling."""
    guard = _mine(operation) | {"status__in": [Status.RUNNING], "retries__lt": F("max_retries")}
    changes = {**told, "retries": F("retries") + 1, **_again(delay)}
    return _move(operation, Status.PENDING, guard, **changes)


def release(operation: Operation, *, told: Mapping[str, Any] = {}) -> bool:
    """running → pending because the worker stops: costs no budget; not while canceling."""
    guard = _mine(operation) | {"status__in": [Status.RUNNING]}
    return _move(operation, Status.PENDING, guard, **told, **_again(0))


def rescue(operation: Operation) -> Status | None:
    """What becomes of a lost attempt; None when its lease is not over, or it is over itself.

    canceling → canceled; running → failed when out of time or of losses, else → pending.
    """
    guard = {
        "status": operation.status,
        "attempt": operation.attempt,
        "lease_expires_at__lte": DatabaseNow(),
    }
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


def forfeit(pk: UUID, *, worker: str, timed_out: bool) -> bool:
    """End the lease of an attempt whose process is known to be gone, for the rescue to find.

    `worker` names the process that claimed it, so that no other attempt is hit.
    """
    guard = {"worker": worker, "status__in": sorted(ACTIVE)}
    over = ("lease_expires_at", "deadline_at") if timed_out else ("lease_expires_at",)
    return _update(pk, guard, dict.fromkeys(over, DatabaseNow()))


def cancel(operation: Operation) -> bool:
    """pending → canceled, running → canceling; False when the row is elsewhere by now.

    While pending guarded by `attempt`: some kinds may be canceled before their first one only.
    """
    now: dict[str, Any] = {"cancel_requested_at": DatabaseNow()}
    if operation.status == Status.PENDING:
        guard = {"status": Status.PENDING, "attempt": operation.attempt}
        return _move(operation, Status.CANCELED, guard, **now, **_canceled(operation))
    return _move(operation, Status.CANCELING, {"status": Status.RUNNING}, **now)


def reject(operation: Operation) -> bool:
    """pending → failed: for an hour no worker knew the kind."""
    guard = {
        "status": Status.PENDING,
        "available_at__lte": DatabaseNow() - UNKNOWN_KIND_AFTER,
    }
    error = problems.failure("unknown-kind", "No worker knows this kind of operation.")
    return _move(operation, Status.FAILED, guard, error=error, **_finished(operation))


def reserve(operation: Operation) -> bool:
    """Take the right to publish a due operation from everybody else who read the same row."""
    guard = {**_unmoved(operation), "available_at__lte": DatabaseNow()}
    reserved = _update(
        operation.pk, guard, {"published_at": DatabaseNow(), "publishes": F("publishes") + 1}
    )
    if reserved:
        operation.publishes += 1
    return reserved


def unreserve(operation: Operation, *, delay: float = 0) -> bool:
    """Leave what was not published, and has not run since, to the relay, in `delay` seconds."""
    later = {"available_at": after(delay)} if delay else {}
    return _update(operation.pk, _unmoved(operation), {"published_at": None, **later})


def bury(operation: Operation, *, expired: bool) -> bool:
    """Turn a finished operation into a tombstone; the caller removes with it what has other rows.

    With `expired` only when its time has come, else at once: its client deleted it.
    """
    guard: dict[str, Any] = {"status__in": sorted(FINAL), "deleted_at": None}
    if expired:
        guard["purge_at__lte"] = DatabaseNow()
    changes = {
        "deleted_at": DatabaseNow(),
        "purge_at": after(conf.get("TOMBSTONE")),
        **NOTHING,
        **_visible(),
    }
    return _update(operation.pk, guard, changes)


def _update(
    pk: UUID, guard: Mapping[str, Any], changes: Mapping[str, Any], *, insert: Model | None = None
) -> bool:
    """The one statement everything here is made of; `insert` is stored if it hit."""
    rows = Operation.objects.filter(pk=pk, **guard)
    hit = statements.update_and_insert(rows, changes, insert)
    if hit:
        announcements.announce(pk, changes)
    return hit


def _update_and_read(
    pk: UUID, guard: Mapping[str, Any], changes: Mapping[str, Any]
) -> Operation | None:
    """The same, where it returns the row that it hit."""
    rows = statements.update_returning(Operation.objects.filter(pk=pk, **guard), changes)
    if rows:
        announcements.announce(pk, changes)
    return rows[0] if rows else None


def _move(
    operation: Operation,
    target: Status,
    guard: Mapping[str, Any],
    *,
    insert: Model | None = None,
    **changes: Any,
) -> bool:
    return _update(operation.pk, *_arrow(target, guard, changes), insert=insert)


def _arrow(target: Status, guard: Mapping[str, Any], changes: Mapping[str, Any]) -> Statement:
    sources = guard["status__in"] if "status__in" in guard else [guard["status"]]
    if not all(target in TRANSITIONS[Status(source)] for source in sources):
        raise ValueError(f"No arrow leads from {sources} to {target}: see status.TRANSITIONS.")
    return guard, {"status": target, **_visible(), **changes}


def _reached(
    operation: Operation, target: Status, guard: Mapping[str, Any], **changes: Any
) -> Status | None:
    return target if _move(operation, target, guard, **changes) else None


def _claim(operation: Operation, *, worker: str) -> Statement:
    guard = {
        "status": Status.PENDING,
        "version": operation.version,
        "available_at__lte": DatabaseNow(),
    }
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


def _mine(operation: Operation) -> dict[str, Any]:
    return {"attempt": operation.attempt, "status__in": sorted(ACTIVE)}


def _unmoved(operation: Operation) -> dict[str, Any]:
    own = {"publishes": operation.publishes, "attempt": operation.attempt}
    return {"status": Status.PENDING, **own}


def _visible() -> dict[str, Any]:
    return {"version": F("version") + 1, "updated_at": DatabaseNow()}


def _finished(operation: Operation) -> dict[str, Any]:
    kept = conf.get("RETENTION") if operation.retention is None else operation.retention
    # A date that is there already was set for an owner who is gone.
    end = Coalesce(F("expires_at"), after(kept))
    return {
        "finished_at": DatabaseNow(),
        "expires_at": end,
        "purge_at": end,
        "lease_expires_at": None,
    }


def _canceled(operation: Operation) -> dict[str, Any]:
    error = problems.failure("operation-canceled", "The operation was canceled.")
    return {"error": error, **_finished(operation)}


def _again(delay: float) -> dict[str, Any]:
    return {"available_at": after(delay), "published_at": None, "lease_expires_at": None}
