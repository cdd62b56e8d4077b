"""The columns that several arrows of `lifecycle` write."""

from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from django.db.models import F, Func, Value
from django.db.models.functions import Coalesce, Least

from async_reply import conf
from async_reply.database.clock import DatabaseNow, after, microseconds, seconds_until
from async_reply.database.leases import lease_seconds
from async_reply.database.shapes import Columns
from async_reply.protocol import problems

#: A tombstone holds neither the client's input nor the job's answer.
EMPTY_CONTENT: dict[str, Any] = {"input": {}, "extra": {}, "error": None, "message": "", "kept": ""}

#: The budgets that an operation gets back when its job stores a step.
FURTHER: Columns = {"losses": 0, "retries": 0, "idle_releases": 0}

#: Expressions keep their shape, so those of each job are made once. This saves a tenth of their
#: instructions.
NOW = DatabaseNow()
NEW_VERSION: Columns = {"version": F("version") + 1, "updated_at": NOW}

#: A pending operation of a kind that no worker knows fails after this time.
UNKNOWN_KIND_AFTER = timedelta(hours=1)

#: The most attempts at an operation whose steps give back its budgets.
MAX_ATTEMPTS = 1000


class IfPositive(Func):
    """Keeps the progress of an operation with steps when its next attempt begins.

    `IfPositive(F("count"), F("column"), Value(…))`: the column if the count is above 0.

    Else it is the value, or NULL without one.
    """

    def as_sql(self, compiler: Any, connection: Any, *_options: Any, **_context: Any) -> Any:
        parts = [compiler.compile(part) for part in self.get_source_expressions()]
        count, column, *others = [sql for sql, _ in parts]
        otherwise = "".join(f" ELSE {other}" for other in others)
        parameters = [parameter for _, values in parts for parameter in values]
        return f"CASE WHEN {count} > 0 THEN {column}{otherwise} END", parameters


class Sum(Func):
    """The sum of numbers of several types."""

    arg_joiner = " + "
    template = "%(expressions)s"


#: The seconds of all attempts, of which the last one ends now.
WORKED = Sum(
    F("earlier_seconds"),
    microseconds(DatabaseNow() - Coalesce(F("started_at"), DatabaseNow())) * Value(1e-6),
)


def claimed(time_limit: int | F, *, worker: str) -> dict[str, Any]:
    """A new attempt. Its deadline is that of the whole operation, if that one is earlier."""
    return {"worker": worker, **_claimed(time_limit, lease_seconds())}


@lru_cache(maxsize=64)
def _claimed(time_limit: int | F, lease: float) -> Columns:
    end = after(time_limit)
    give_up_at = Coalesce(F("give_up_at"), end)
    return {
        "attempt": F("attempt") + 1,
        "started_at": NOW,
        "deadline_at": Least(end, give_up_at),
        "lease_expires_at": Least(after(lease), end, give_up_at),
        "progress": IfPositive(F("steps"), F("progress")),
        "message": IfPositive(F("steps"), F("message"), Value("")),
        "pause": "",
    }


def renewed() -> Columns:
    """A new lease, up to the deadline."""
    return _renewed(lease_seconds())


@lru_cache(maxsize=64)
def _renewed(lease: float) -> Columns:
    return {"lease_expires_at": Least(after(lease), F("deadline_at"))}


def answered(operation: Any) -> dict[str, Any]:
    """Due now, and published by whoever writes this.

    The time of all attempts loses what is left of the pause: see `paused`.
    """
    changes = {"pause": "", "available_at": NOW, **published(), **NEW_VERSION}
    if operation.give_up_at is None:
        return changes
    rest = timedelta(seconds=max(0, seconds_until(operation.available_at)))
    return {"give_up_at": operation.give_up_at - rest, **changes}


def published() -> dict[str, Any]:
    """Its message is about to be sent."""
    return {"published_at": NOW, "publishes": F("publishes") + 1}


def purged() -> dict[str, Any]:
    """A tombstone."""
    dates = {"deleted_at": NOW, "purge_at": after(conf.get("TOMBSTONE"))}
    return {**dates, **EMPTY_CONTENT, **NEW_VERSION}


def finished(operation: Any) -> Columns:
    """The end of an operation, which keeps its content for a while."""
    seconds = conf.get("RETENTION") if operation.retention is None else operation.retention
    return _finished(seconds)


@lru_cache(maxsize=64)
def _finished(retention: int) -> Columns:
    # `lifecycle.expire` may have set a date already.
    end = Coalesce(F("expires_at"), after(retention))
    dates = {"finished_at": NOW, "expires_at": end, "purge_at": end}
    return {**dates, "lease_expires_at": None, "give_up_at": None}


def canceled(operation: Any) -> dict[str, Any]:
    error = problems.failure("operation-canceled", "The operation was canceled.")
    return {"error": error, **finished(operation)}


def timed_out(operation: Any) -> dict[str, Any]:
    """The problem of an attempt at its deadline."""
    if operation.give_up_at is None or operation.deadline_at < operation.give_up_at:
        return problems.failure("timed-out", "The operation exceeded its time limit.")
    return given_up()


def given_up() -> dict[str, Any]:
    """The problem of an operation that has had the time of all its attempts."""
    return problems.failure(
        "timed-out", "The operation exceeded the time limit of all its attempts together."
    )


def is_spent(operation: Any) -> bool:
    """Whether an operation whose steps gave back its budgets has had all its attempts."""
    return bool(operation.steps and operation.attempt >= MAX_ATTEMPTS)


def again(operation: Any, delay: float = 0) -> dict[str, Any]:
    """Pending again, due in `delay` seconds, or when the time of all attempts is over."""
    due = after(delay)
    if operation.give_up_at is not None:
        due = Least(due, F("give_up_at"))
    return _unheld(due)


def paused(operation: Any, until: float | datetime, *, is_rest: bool) -> dict[str, Any]:
    """Pending until a time, or for so many seconds. The time of all attempts is longer by them.

    `is_rest`: it was made longer when the pause began.
    """
    if isinstance(until, datetime):
        due, seconds = until, seconds_until(until)
    else:
        due, seconds = after(until), until
    if operation.give_up_at is None or is_rest:
        return _unheld(due)
    later = operation.give_up_at + timedelta(seconds=max(0, seconds))
    return {"give_up_at": later, **_unheld(due)}


def _unheld(due: Any) -> dict[str, Any]:
    unheld = {"published_at": None, "lease_expires_at": None}
    return {"available_at": due, "earlier_seconds": WORKED, **unheld}
