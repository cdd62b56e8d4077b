"""What may never happen to an operation, said once for both checkers."""

from collections.abc import Mapping
from typing import Any

from async_reply.status import ACTIVE, FINAL, TRANSITIONS, Status
from tests.lifecycle.interpreter import Time

#: Columns that no client sees: their change alone leaves `version` as it is.
QUIET = frozenset({"published_at", "publishes", "lease_expires_at", "deadline_at"})

Values = Mapping[str, Any]


class Violation(AssertionError):
    """A rule was broken; the text says which, the notes how it came to that."""


def require(condition: object, rule: str) -> None:
    if not condition:
        raise Violation(rule)


def check_change(function: str, before: Values, after: Values, columns: set[str]) -> None:
    """One statement of `lifecycle.<function>` that hit its row and wrote `columns`."""
    _check_status(before, after)
    _check_counters(function, before, after, columns)
    if function == "claim":
        require(before["status"] == Status.PENDING, "only what is pending is claimed")
        require(before["available_at"] <= Time.PAST, "no attempt starts before available_at")
    if function == "purge":
        require(before["status"] in FINAL, "purge touches no unfinished row")


def _check_status(before: Values, after: Values) -> None:
    source, target = Status(before["status"]), Status(after["status"])
    if source in FINAL:
        require(target == source, "a terminal status never changes")
    elif target != source:
        require(target in TRANSITIONS[source], f"no arrow leads from {source} to {target}")


def _check_counters(function: str, before: Values, after: Values, columns: set[str]) -> None:
    grown = {
        column: after[column] - before[column]
        for column in ("version", "attempt", "retries", "losses", "publishes")
    }
    again = after["status"] == Status.PENDING
    wanted = {
        "version": int(bool(columns - QUIET)),
        "attempt": int(function == "claim"),
        "retries": int(function == "retry"),
        "losses": int(function == "rescue" and again),
        "publishes": int(function == "reserve"),
    }
    for column, growth in grown.items():
        require(growth == wanted[column], f"{function} adds {wanted[column]} to {column}")


def check_row(row: Values) -> None:
    """What holds for a row at any time; `results` counts the rows of its result."""
    active = row["status"] in ACTIVE
    held = (row["lease_expires_at"] is not None, row["deadline_at"] is not None)
    require(not active or all(held), "whoever holds an operation has a lease and a deadline")
    require(active or not held[0], "nobody but an attempt has a lease")
    require(row["retries"] <= row["max_retries"], "retries stay within their budget")
    require(row["losses"] <= row["max_losses"], "losses stay within their budget")
    kept = row["status"] == Status.SUCCEEDED and row["deleted_at"] is None
    require(row["results"] == int(kept), "succeeded and one result are the same thing")
    if row["status"] in FINAL:
        require(row["purge_at"] is not None, "what is finished goes some day")
    else:
        require(row["purge_at"] is None, "what is unfinished stays")
        require(row["deleted_at"] is None, "what is unfinished is no tombstone")
    if row["status"] == Status.SUCCEEDED:
        require(row["attempt"] > 0, "what succeeded was run")
