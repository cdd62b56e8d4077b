"""Judges a run after its faults, by the rows, the journal and the answers that clients got.

Each function is an invariant and yields a sentence for each breach. A number in its docstring is
the number of the invariant in the design.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from async_reply.status import FINAL, Status
from tests.faults.event_invariants import EVENT_INVARIANTS
from tests.faults.evidence import Evidence
from tests.faults.step_invariants import STEP_INVARIANTS

#: The difference between the clock of the database and the clock of a process.
CLOCKS_AGREE_WITHIN_SECONDS = 0.1


def accepted_has_a_row(evidence: Evidence) -> Iterator[str]:
    """1: an operation whose 202 reached a client has a row, and reaches a final status."""
    for request in evidence.accepted:
        if request.id not in evidence.operations:
            yield f"{request.id} was accepted and has no row"
    for pk, row in evidence.operations.items():
        if row["status"] not in FINAL:
            yield f"{pk} is stuck: {row['status']}, published_at {row['published_at']}"


def everything_was_accepted(evidence: Evidence) -> Iterator[str]:
    """A client that repeats its submit gets a 202 in the end. Until then it gets only 503."""
    for request in evidence.requests:
        if not request.id:
            yield f"{request.token} was never accepted: {request.tries[-5:]}"
        for _, _, status in request.tries:
            if status not in (0, 202, 503):
                yield f"{request.token} was answered {status}"


def final_status_stays(evidence: Evidence) -> Iterator[str]:
    """2: no client sees a final status change, or a version decrease."""
    for request in evidence.accepted:
        row = evidence.operations.get(request.id, {"status": "", "version": 0})
        versions = [version for version, _ in request.seen if version]
        if versions != sorted(versions):
            yield f"{request.id} showed decreasing versions: {versions}"
        ends = {status for _, status in request.seen if status in FINAL}
        if ends - {row["status"]}:
            yield f"{request.id} was seen {ends} and is {row['status']}"


def only_the_last_attempt_wrote(evidence: Evidence) -> Iterator[str]:
    """3: the stored result is the result of the last attempt."""
    for result in evidence.rows["results"]:
        row = evidence.operations[result["operation_id"]]
        if result["attempt"] != row["attempt"]:
            yield f"{row['id']} has the result of attempt {result['attempt']}/{row['attempt']}"


def succeeded_has_one_result(evidence: Evidence) -> Iterator[str]:
    """4: a succeeded operation has one result, the right one. Any other operation has none."""
    results = Counter(result["operation_id"] for result in evidence.rows["results"])
    values = {result["operation_id"]: result["value"] for result in evidence.rows["results"]}
    for pk, row in evidence.operations.items():
        wanted = int(row["status"] == Status.SUCCEEDED)
        if results[pk] != wanted:
            yield f"{pk} is {row['status']} with {results[pk]} results"
        if wanted and values.get(pk) != {"token": row["input"]["token"]}:
            yield f"{pk} answers {values.get(pk)} to {row['input']}"


def ran_at_least_once(evidence: Evidence) -> Iterator[str]:
    """5: the last attempt of a succeeded operation ran to its end; a failed one has a reason."""
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
    """3: each attempt starts once, and the row counts each attempt.

    The order of the lines does not matter. A worker that is frozen between its claim and its line
    in the journal may write the line of attempt 1 after the line of attempt 2.
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
    """9: an operation canceled while pending never runs; its last attempt starts before its end.

    A worker that is frozen between its claim and its line in the journal writes the line late.
    The operation may be canceled by then, or another attempt may run: that is not a breach.
    """
    for pk, row in evidence.operations.items():
        starts = evidence.starts.get(pk, [])
        if row["attempt"] == 0 and starts:
            yield f"{pk} ran although it was never claimed"
        if row["finished_at"] is None or row["status"] == Status.CANCELED:
            continue
        end = datetime.fromisoformat(row["finished_at"]).timestamp() + CLOCKS_AGREE_WITHIN_SECONDS
        if any(entry.at > end for entry in starts if entry.attempt == row["attempt"]):
            yield f"{pk} started after it was {row['status']}"


def budgets_hold(evidence: Evidence) -> Iterator[str]:
    """Losses and retries stay within their limits. A job that must not be repeated runs once."""
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
    """5: `on_finish` has written once for a succeeded operation, and never for another one."""
    effects = Counter(effect["operation"] for effect in evidence.rows["effects"])
    for pk, row in evidence.operations.items():
        wanted = int(row["status"] == Status.SUCCEEDED and row["kind"] == "faults.work")
        if effects[pk] != wanted:
            yield f"{pk} is {row['status']} with {effects[pk]} effects"


def keys_make_one_operation(evidence: Evidence) -> Iterator[str]:
    """9: each key makes one operation, even if it was sent several times during faults."""
    tokens = Counter(row["input"].get("token") for row in evidence.operations.values())
    for request in evidence.requests:
        if len(request.replies) > 1:
            yield f"{request.token} was promised {sorted(request.replies)}"
        if tokens[request.token] > 1:
            yield f"{request.token} made {tokens[request.token]} operations"


def cancels_are_kept(evidence: Evidence) -> Iterator[str]:
    """9: an operation that a client saw as canceled stays canceled."""
    for request in evidence.accepted:
        status = evidence.operations.get(request.id, {"status": "absent"})["status"]
        for _, answer in request.cancel_answers:
            if answer == Status.CANCELED and status != Status.CANCELED:
                yield f"{request.id} was answered canceled and is {status}"


INVARIANTS: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    accepted_has_a_row,
    everything_was_accepted,
    final_status_stays,
    only_the_last_attempt_wrote,
    succeeded_has_one_result,
    ran_at_least_once,
    attempts_start_once,
    nothing_starts_after_the_end,
    budgets_hold,
    effects_happen_once,
    keys_make_one_operation,
    cancels_are_kept,
    *STEP_INVARIANTS,
    *EVENT_INVARIANTS,
)


def breaches(evidence: Evidence) -> dict[str, list[str]]:
    """The name of each breached invariant -> a sentence for each breach."""
    sentences = {rule.__name__: list(rule(evidence)) for rule in INVARIANTS}
    return {name: lines for name, lines in sentences.items() if lines}
