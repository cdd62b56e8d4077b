"""The rules that hold for every operation, for both checkers."""

from collections.abc import Mapping
from typing import Any

from async_reply.status import ACTIVE, FINAL, TRANSITIONS, Status
from tests.lifecycle.interpreter import Time

#: Columns that no client sees. A change of these alone does not increase `version`.
QUIET = frozenset(
    {
        *("published_at", "publishes", "lease_expires_at", "deadline_at"),
        *("retries", "losses", "idle_releases", "steps", "pause"),
        *("total_retries", "total_losses", "earlier_seconds"),
    }
)

Values = Mapping[str, Any]


class Violation(AssertionError):
    """A broken rule: the text names it, the notes list the steps that led there."""


def require(condition: object, rule: str) -> None:
    if not condition:
        raise Violation(rule)


def check_change(function: str, before: Values, after: Values, columns: set[str]) -> None:
    """Check a statement of `lifecycle.<function>` that changed `columns` of the row."""
    _check_status(before, after)
    _check_counters(function, before, after, columns)
    if function == "claim":
        require(before["status"] == Status.PENDING, "only a pending operation is claimed")
        require(before["available_at"] <= Time.PAST, "no attempt starts before available_at")
    if function == "purge":
        require(before["status"] in FINAL, "purge touches no unfinished row")
    if function == "answer":
        is_asked = (before["status"], before["pause"]) == (Status.PENDING, "question")
        require(is_asked, "only a pending operation that asks is answered")


def _check_status(before: Values, after: Values) -> None:
    source, target = Status(before["status"]), Status(after["status"])
    if source in FINAL:
        require(target == source, "a final status never changes")
    elif target != source:
        require(target in TRANSITIONS[source], f"no arrow leads from {source} to {target}")


def _check_counters(function: str, before: Values, after: Values, columns: set[str]) -> None:
    increases = {
        column: after[column] - before[column]
        for column in ("version", "attempt", "retries", "losses", "publishes", "steps")
    }
    is_pending = after["status"] == Status.PENDING
    expected = {
        "version": int(bool(columns - QUIET)),
        "attempt": int(function == "claim"),
        "retries": int(function == "retry"),
        "losses": int(function == "rescue" and is_pending),
        "publishes": int(function in ("reserve", "answer")),
        "steps": int(function == "store_step" or (function == "pause" and "steps" in columns)),
    }
    # Whatever a job stores for its later attempts gives both budgets back.
    if function in ("store_step", "pause", "beat") and "losses" in columns:
        expected |= {"retries": -before["retries"], "losses": -before["losses"]}
    for column, increase in increases.items():
        rule = f"{function} adds {expected[column]} to {column}"
        require(increase == expected[column], rule)


def check_row(row: Values) -> None:
    """Check a row at any time; `results` counts the rows of its result."""
    is_active = row["status"] in ACTIVE
    has_lease, has_deadline = row["lease_expires_at"] is not None, row["deadline_at"] is not None
    is_held = has_lease and has_deadline
    require(not is_active or is_held, "an active operation has a lease and a deadline")
    require(is_active or not has_lease, "only an active operation has a lease")
    require(not is_active or row["pause"] == "", "an active operation waits for nothing")
    require(row["retries"] <= row["max_retries"], "retries stay within their budget")
    require(row["losses"] <= row["max_losses"], "losses stay within their budget")
    has_result = row["status"] == Status.SUCCEEDED and row["deleted_at"] is None
    require(row["results"] == int(has_result), "only a succeeded operation has a result: one")
    if row["status"] in FINAL:
        require(row["purge_at"] is not None, "a finished operation has a time to be purged")
    else:
        require(row["purge_at"] is None, "an unfinished operation is never purged")
        require(row["deleted_at"] is None, "an unfinished operation is no tombstone")
    if row["status"] == Status.SUCCEEDED:
        require(row["attempt"] > 0, "a succeeded operation was run")
