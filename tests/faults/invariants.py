"""What must hold once the faults are over: judged from rows, journal and what clients heard.

The numbers are those of the design's invariants. Each function yields a sentence for each breach.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from async_reply.status import FINAL, Status
from tests.faults.clients import Asked
from tests.faults.journal import Entry

#: Between the database writing a time and a process writing one into the journal.
CLOCKS_AGREE_WITHIN = 0.1


@dataclass
class Evidence:
    """All that is known after a run."""

    rows: dict[str, list[dict[str, Any]]]
    journal: list[Entry]
    asked: list[Asked]

    @cached_property
    def operations(self) -> dict[str, dict[str, Any]]:
        return {row["id"]: row for row in self.rows["operations"]}

    @cached_property
    def starts(self) -> dict[str, list[Entry]]:
        found = defaultdict(list)
        for entry in self.journal:
            if entry.event == "start":
                found[entry.id].append(entry)
        return dict(found)

    @property
    def accepted(self) -> list[Asked]:
        return [wish for wish in self.asked if wish.id]


def accepted_has_a_row(evidence: Evidence) -> Iterator[str]:
    """1: a 202 that reached a client has a committed row, which ends."""
    for wish in evidence.accepted:
        if wish.id not in evidence.operations:
            yield f"{wish.id} was accepted and has no row"
    for pk, row in evidence.operations.items():
        if row["status"] not in FINAL:
            yield f"{pk} is stuck: {row['status']}, published_at {row['published_at']}"


def everything_was_accepted(evidence: Evidence) -> Iterator[str]:
    """A client that repeats its submit gets its 202 in the end, and nothing but 202 and 503."""
    for wish in evidence.asked:
        if not wish.id:
            yield f"{wish.token} was never accepted: {[status for _, _, status in wish.tries][-5:]}"
        for _, _, status in wish.tries:
            if status not in (0, 202, 503):
                yield f"{wish.token} was answered {status}"


def terminal_is_for_good(evidence: Evidence) -> Iterator[str]:
    """2: no client sees a final status change, or a version shrink."""
    for wish in evidence.accepted:
        row = evidence.operations.get(wish.id, {"status": "", "version": 0})
        versions = [version for version, _ in wish.seen if version]
        if versions != sorted(versions):
            yield f"{wish.id} went back in versions: {versions}"
        ends = {status for _, status in wish.seen if status in FINAL}
        if ends - {row["status"]}:
            yield f"{wish.id} was seen {ends} and is {row['status']}"


def only_the_last_attempt_wrote(evidence: Evidence) -> Iterator[str]:
    """3: the stored result is that of the attempt that claimed last."""
    for result in evidence.rows["results"]:
        row = evidence.operations[result["operation_id"]]
        if result["attempt"] != row["attempt"]:
            yield f"{row['id']} keeps the result of attempt {result['attempt']}/{row['attempt']}"


def succeeded_has_one_result(evidence: Evidence) -> Iterator[str]:
    """4: succeeded, and only succeeded, has exactly one result, which answers what was asked."""
    results = Counter(result["operation_id"] for result in evidence.rows["results"])
    values = {result["operation_id"]: result["value"] for result in evidence.rows["results"]}
    for pk, row in evidence.operations.items():
        wanted = int(row["status"] == Status.SUCCEEDED)
        if results[pk] != wanted:
            yield f"{pk} is {row['status']} with {results[pk]} results"
        if wanted and values.get(pk) != {"token": row["input"]["token"]}:
            yield f"{pk} answers {values.get(pk)} to {row['input']}"


def ran_at_least_once(evidence: Evidence) -> Iterator[str]:
    """5: what succeeded ran to its end in the attempt that it says; what failed says why."""
    ended = {(entry.id, entry.attempt) for entry in evidence.journal if entry.event == "end"}
    for pk, row in evidence.operations.items():
        if row["status"] == Status.SUCCEEDED and (pk, row["attempt"]) not in ended:
            yield f"{pk} succeeded in attempt {row['attempt']}, which never ended"
        if row["status"] == Status.FAILED and not _may_fail(row):
            yield f"{pk} failed: {row['error']}"


def _may_fail(row: dict[str, Any]) -> bool:
    code = (row["error"] or {}).get("code")
    if code == "worker-lost":
        return bool(row["losses"] >= row["max_losses"])
    if code == "internal-error":
        return bool(row["input"].get("manner") == "flaky" and row["retries"] == row["max_retries"])
    return bool(row["input"].get("manner") == "failing")


def attempts_start_once(evidence: Evidence) -> Iterator[str]:
    """3: each attempt starts once, and none that the row does not count.

    Their order is that of the claims: frozen between its claim and the journal, attempt 1 may
    write its line after attempt 2.
    """
    for pk, starts in evidence.starts.items():
        numbers = [entry.attempt for entry in starts]
        if len(numbers) != len(set(numbers)):
            yield f"{pk} started its attempts as {numbers}"
        row = evidence.operations.get(pk)
        if row is None:
            yield f"{pk} ran and has no row"
        elif max(numbers) > row["attempt"]:
            yield f"{pk} ran attempt {max(numbers)} of {row['attempt']}"


def nothing_starts_after_the_end(evidence: Evidence) -> Iterator[str]:
    """9: what was canceled while pending never ran; the attempt that ended it had begun before.

    A worker that is frozen between its claim and the journal writes its line late, when its
    operation may be canceled, or in another attempt's hands: that is no start.
    """
    for pk, row in evidence.operations.items():
        starts = evidence.starts.get(pk, [])
        if row["attempt"] == 0 and starts:
            yield f"{pk} ran although it was never claimed"
        if row["finished_at"] is None or row["status"] == Status.CANCELED:
            continue
        end = datetime.fromisoformat(row["finished_at"]).timestamp() + CLOCKS_AGREE_WITHIN
        if any(entry.at > end for entry in starts if entry.attempt == row["attempt"]):
            yield f"{pk} started after it was {row['status']}"


def budgets_hold(evidence: Evidence) -> Iterator[str]:
    """Losses and retries stay within bounds; a job that must not be repeated is not."""
    outcomes = Counter((row["operation_id"], row["outcome"]) for row in evidence.rows["attempts"])
    for pk, row in evidence.operations.items():
        if row["losses"] > row["max_losses"] or row["retries"] > row["max_retries"]:
            yield f"{pk} exceeds a budget: {row['losses']} losses, {row['retries']} retries"
        starts = evidence.starts.get(pk, [])
        if row["max_losses"] == 0:
            allowed = 1 + row["retries"] + outcomes[pk, "released"]
            if len(starts) > allowed:
                yield f"{pk} must not be repeated and started {len(starts)} times"


def effects_happen_once(evidence: Evidence) -> Iterator[str]:
    """5: what `on_finish` writes is there once if it succeeded, else not at all."""
    effects = Counter(effect["operation"] for effect in evidence.rows["effects"])
    for pk, row in evidence.operations.items():
        wanted = int(row["status"] == Status.SUCCEEDED and row["kind"] == "faults.work")
        if effects[pk] != wanted:
            yield f"{pk} is {row['status']} with {effects[pk]} effects"


def keys_make_one_operation(evidence: Evidence) -> Iterator[str]:
    """9: one operation for each key, however often and into whatever fault it was sent."""
    tokens = Counter(row["input"].get("token") for row in evidence.operations.values())
    for wish in evidence.asked:
        if len(wish.replies) > 1:
            yield f"{wish.token} was promised {sorted(wish.replies)}"
        if tokens[wish.token] > 1:
            yield f"{wish.token} made {tokens[wish.token]} operations"


def cancels_are_kept(evidence: Evidence) -> Iterator[str]:
    """9: what a client was told is canceled stays it; what was canceling ends as it may."""
    for wish in evidence.accepted:
        status = evidence.operations.get(wish.id, {"status": "absent"})["status"]
        for _, told in wish.cancel_answers:
            if told == Status.CANCELED and status != Status.CANCELED:
                yield f"{wish.id} was told canceled and {status}"


INVARIANTS: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    accepted_has_a_row,
    everything_was_accepted,
    terminal_is_for_good,
    only_the_last_attempt_wrote,
    succeeded_has_one_result,
    ran_at_least_once,
    attempts_start_once,
    nothing_starts_after_the_end,
    budgets_hold,
    effects_happen_once,
    keys_make_one_operation,
    cancels_are_kept,
)


def breaches(evidence: Evidence) -> dict[str, list[str]]:
    """The sentences by the invariant they breach."""
    found = {rule.__name__: list(rule(evidence)) for rule in INVARIANTS}
    return {name: sentences for name, sentences in found.items() if sentences}
