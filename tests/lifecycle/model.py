"""One operation in memory, on which the real functions of `lifecycle` are called.

Counters that guards only compare for equality are told relative to the row: its own `version`
and `publishes` read 0, what an actor has read before is 0 or older. So everything is finite.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from uuid import UUID

from async_reply import lifecycle
from async_reply.models import Operation
from async_reply.status import ACTIVE, Status
from tests.lifecycle import interpreter
from tests.lifecycle.interpreter import Time
from tests.lifecycle.rules import check_change, check_row, require

PK = UUID(int=1)
MAX_RETRIES = 1
MAX_LOSSES = 1
MAX_RELEASES = 1

#: Columns that `lifecycle` writes and no guard looks at.
UNGUARDED = (
    "worker",
    "progress",
    "started_at",
    "finished_at",
    "expires_at",
    "updated_at",
)

#: Columns of what came in or was said, which a tombstone has not.
CONTENT = ("input", "extra", "error", "message")

#: What a statement meant for everybody else who has read the row, as bits.
SEEN, CLAIMED, PUBLISHED, TAKEN = 1, 2, 4, 8


class Row(NamedTuple):
    """The columns that guards rest on; `results` and `releases` are counted beside them."""

    status: str = Status.PENDING
    attempt: int = 0
    retries: int = 0
    losses: int = 0
    available_at: int = Time.PAST
    published: bool = False
    lease_expires_at: int | None = None
    deadline_at: int | None = None
    purge_at: int | None = None
    deleted: bool = False
    results: int = 0
    releases: int = 0


class Answer(NamedTuple):
    """What a function returned, the row it left, and what that meant for the others."""

    value: Any
    row: Row | None
    effect: int
    snapshot: Operation


class Table:
    """Stands in for the database behind `lifecycle._update`."""

    def __init__(self) -> None:
        self._values: dict[str, Any] | None = None
        self._function = ""
        self._misses = 0
        self._own = True
        self.arrows: set[tuple[str, str]] = set()

    @contextmanager
    def installed(self) -> Iterator["Table"]:
        real = lifecycle._update
        replaced: Any = self._update
        lifecycle._update = replaced
        try:
            yield self
        finally:
            lifecycle._update = real

    def call(self, row: Row | None, function: str, read: dict[str, Any], **options: Any) -> Answer:
        """`lifecycle.<function>` on an operation as it was `read`.

        `misses`: so many statements have missed already, before the row became what it is now.
        `own`: whether the caller may write as the attempt that holds the operation.
        """
        self._misses = options.pop("misses", 0)
        self._own = options.pop("own", True)
        self._function = function
        self._values = before = None if row is None else _values(row)
        snapshot = Operation(pk=PK, max_retries=MAX_RETRIES, max_losses=MAX_LOSSES, **read)
        value = getattr(lifecycle, function)(snapshot, **options)
        after = self._values
        if before is None or after is None or after is before:
            return Answer(value, row, 0, snapshot)
        self._check(function, before, after)
        return Answer(value, _row(after), _effect(before, after), snapshot)

    def _update(
        self, pk: UUID, guard: interpreter.Values, changes: interpreter.Values, **_insert: None
    ) -> bool:
        if self._misses:
            self._misses -= 1
            return False
        before = self._values
        after = None if before is None else interpreter.update(before, guard, changes)
        if before is None or after is None:
            return False
        require(self._own, "a worker writes only while the claim is its own")
        check_change(self._function, before, after, set(changes))
        if after["status"] != before["status"]:
            self.arrows.add((before["status"], after["status"]))
        self._values = after
        return True

    def _check(self, function: str, before: dict[str, Any], after: dict[str, Any]) -> None:
        after["releases"] += function == "release"
        after["results"] += function == "succeed"
        if function == "purge":
            after["results"] = 0
            kept = [name for name in CONTENT if after[name]]
            require(not kept, "a tombstone holds nothing of what came in or was said")
        require(after["idempotency_digest"] == "key", "one operation per key, tombstones included")
        check_row(after)
        ended = after["retries"] + after["losses"] + after["releases"]
        if after["status"] == Status.PENDING:
            require(after["attempt"] == ended, "each attempt ends once")
        elif after["status"] in ACTIVE:
            require(after["attempt"] == ended + 1, "one attempt at a time")


def _values(row: Row) -> dict[str, Any]:
    # An attempt leaves its deadline behind, and nobody looks at that.
    left_behind = Time.PAST if row.attempt else None
    return {
        **row._asdict(),
        "deadline_at": row.deadline_at if row.status in ACTIVE else left_behind,
        "version": 0,
        "publishes": 0,
        "max_retries": MAX_RETRIES,
        "max_losses": MAX_LOSSES,
        "published_at": Time.PAST if row.published else None,
        "deleted_at": Time.PAST if row.deleted else None,
        "cancel_requested_at": Time.PAST if row.status == Status.CANCELING else None,
        "idempotency_digest": "key",
        **dict.fromkeys(UNGUARDED),
        **dict.fromkeys(CONTENT, "x"),
    }


def _row(values: dict[str, Any]) -> Row:
    """The row without what no guard can look at any more in its status."""
    active, pending = values["status"] in ACTIVE, values["status"] == Status.PENDING
    return Row(
        values["status"],
        values["attempt"],
        values["retries"],
        values["losses"],
        values["available_at"] if pending else Time.PAST,
        pending and values["published_at"] is not None,
        values["lease_expires_at"],
        values["deadline_at"] if active else None,
        values["purge_at"],
        values["deleted_at"] is not None,
        values["results"],
        values["releases"],
    )


def _effect(before: dict[str, Any], after: dict[str, Any]) -> int:
    grown = {"version": SEEN, "attempt": CLAIMED, "publishes": PUBLISHED}
    effect = sum(bit for column, bit in grown.items() if after[column] != before[column])
    left = before["status"] in ACTIVE and after["status"] not in ACTIVE
    return effect | TAKEN * left


def remember(call: Callable[..., Any]) -> Callable[..., Any]:
    """Ask once for the same row and actor: what follows depends on nothing else."""
    known: dict[Any, Any] = {}

    def remembered(*key: Any) -> Any:
        if key not in known:
            known[key] = call(*key)
        return known[key]

    return remembered
