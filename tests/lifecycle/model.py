"""One operation in memory, on which the real functions of `lifecycle` are called.

Guards compare some counters for equality only, so they are relative here: `version` and `publishes`
of the row are 0, and an actor has read 0 or less. This keeps the number of states finite.
"""

from collections.abc import Iterator
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
MAX_STEPS = 1
MAX_PAUSES = 1

#: Columns that `lifecycle` writes and no guard reads.
UNGUARDED = (
    "worker",
    "progress",
    "started_at",
    "finished_at",
    "expires_at",
    "updated_at",
    "give_up_at",
    "earlier_seconds",
)

#: Columns that are empty in a tombstone.
CONTENT = ("input", "extra", "error", "message", "kept")

#: The effects of a statement on the other actors' knowledge of the row, as bits.
SEEN, CLAIMED, PUBLISHED, TAKEN = 1, 2, 4, 8


class Question(NamedTuple):
    """The last question of the job. A `fact` is an answer, or that nobody has answered."""

    number: int
    is_awaited: bool
    fact: str = ""


class Row(NamedTuple):
    """The columns that guards read, and counts: of results, releases, steps and pauses.

    `forgiven` counts the retries and losses that a step has given back.
    """

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
    steps: int = 0
    forgiven: int = 0
    pauses: int = 0
    question: Question | None = None


class Answer(NamedTuple):
    """The return value of a function, the row afterwards, and the effect on other actors."""

    value: Any
    row: Row | None
    effect: int
    snapshot: Operation


class Table:
    """Replaces the database behind `lifecycle._update`."""

    def __init__(self, *, max_retries: int = MAX_RETRIES) -> None:
        self.max_retries = max_retries
        self._values: dict[str, Any] | None = None
        self._function = ""
        self._misses = 0
        self._is_holder = True
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
        """Call `lifecycle.<function>` on an operation with the columns that were `read`.

        `misses`: the number of its statements that missed before the row became `row`.
        `is_holder`: whether the caller may write as the attempt that holds the operation.
        """
        self._misses = options.pop("misses", 0)
        self._is_holder = options.pop("is_holder", True)
        self._function = function
        self._values = before = None
        if row is not None:
            self._values = before = _values(row, max_retries=self.max_retries)
        snapshot = Operation(pk=PK, max_retries=self.max_retries, max_losses=MAX_LOSSES, **read)
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
        require(self._is_holder, "a worker writes only while the claim is its own")
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
            filled = [name for name in CONTENT if after[name]]
            require(not filled, "a tombstone has no input, error or message")
        require(after["idempotency_digest"] == "key", "one operation per key, tombstones included")
        check_row(after)
        after["pauses"] += function == "pause"
        for budget in ("retries", "losses"):
            after["forgiven"] += max(0, before[budget] - after[budget])
        ended = sum(
            after[count] for count in ("retries", "losses", "releases", "forgiven", "pauses")
        )
        if after["status"] == Status.PENDING:
            require(after["attempt"] == ended, "each attempt ends once")
        elif after["status"] in ACTIVE:
            require(after["attempt"] == ended + 1, "one attempt at a time")


def _values(row: Row, *, max_retries: int) -> dict[str, Any]:
    # The deadline of an earlier attempt stays in the row, and no guard reads it.
    old_deadline = Time.PAST if row.attempt else None
    return {
        **row._asdict(),
        "deadline_at": row.deadline_at if row.status in ACTIVE else old_deadline,
        "version": 0,
        "publishes": 0,
        "max_retries": max_retries,
        "max_losses": MAX_LOSSES,
        "published_at": Time.PAST if row.published else None,
        "deleted_at": Time.PAST if row.deleted else None,
        "cancel_requested_at": Time.PAST if row.status == Status.CANCELING else None,
        "idempotency_digest": "key",
        **dict.fromkeys(UNGUARDED),
        **dict.fromkeys(("idle_releases", "total_retries", "total_losses"), 0),
        "pause": "question" if row.question is not None and row.question.is_awaited else "",
        **dict.fromkeys(CONTENT, "x"),
    }


def _row(values: dict[str, Any]) -> Row:
    """The row without the columns that no guard reads in this status."""
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
        values["steps"],
        values["forgiven"],
        values["pauses"],
        _question(values),
    )


def _question(values: dict[str, Any]) -> Question | None:
    question: Question | None = values["question"]
    is_awaited = values["pause"] == "question"
    return None if question is None else question._replace(is_awaited=is_awaited)


def _effect(before: dict[str, Any], after: dict[str, Any]) -> int:
    bits = {"version": SEEN, "attempt": CLAIMED, "publishes": PUBLISHED}
    effect = sum(bit for column, bit in bits.items() if after[column] != before[column])
    was_taken = before["status"] in ACTIVE and after["status"] not in ACTIVE
    return effect | TAKEN * was_taken
