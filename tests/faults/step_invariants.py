"""The invariants of jobs of steps: what is stored runs never again, and atomic effects come once.

Each function yields a sentence for each breach, as those of invariants.py do.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from async_reply.attempts.claims import BEAT_SECONDS
from async_reply.status import Status
from tests.faults.evidence import Evidence
from tests.faults.journal import Entry
from tests.faults.steps import ITEMS, KIND, STEPS, is_atomic

#: Seconds that a heartbeat may take beside its pause, on a machine under faults.
SLOW_SECONDS = 2.0


def _jobs(evidence: Evidence) -> dict[str, dict[str, Any]]:
    return {pk: row for pk, row in evidence.operations.items() if row["kind"] == KIND}


def _entries(evidence: Evidence, event: str) -> dict[str, list[Entry]]:
    """The lines of this event by operation, oldest first."""
    entries = defaultdict(list)
    for entry in evidence.journal:
        if entry.event == event:
            entries[entry.id].append(entry)
    return entries


def _stored(evidence: Evidence) -> dict[str, dict[str, dict[str, Any]]]:
    """The rows of steps, by operation and name."""
    stored: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for row in evidence.rows["steps"]:
        stored[row["operation_id"]][row["name"]] = row
    return stored


def steps_are_stored_once(evidence: Evidence) -> Iterator[str]:
    """A succeeded job has one row for each step, with its value; another job has the first ones."""
    names = Counter((row["operation_id"], row["name"]) for row in evidence.rows["steps"])
    for (pk, name), count in names.items():
        if count > 1:
            yield f"{pk} stored {name} {count} times"
    stored = _stored(evidence)
    for pk, row in _jobs(evidence).items():
        done = [number for number in range(STEPS) if f"step {number}" in stored[pk]]
        if done != list(range(len(done))):
            yield f"{pk} stored the steps {done}"
        if row["status"] == Status.SUCCEEDED and len(done) < STEPS:
            yield f"{pk} succeeded with {len(done)} steps"
        for number in done:
            if stored[pk][f"step {number}"]["value"] != str(number):
                yield f"{pk} stored another value of step {number}"


def atomic_steps_happen_once(evidence: Evidence) -> Iterator[str]:
    """The writes of an atomic step are there once if the step is stored, and else not at all."""
    effects = Counter((row["operation"], row["step"]) for row in evidence.rows["step_effects"])
    stored = _stored(evidence)
    for pk in _jobs(evidence):
        for number in filter(is_atomic, range(STEPS)):
            name = f"step {number}"
            if effects[pk, name] != int(name in stored[pk]):
                yield f"{pk} has {effects[pk, name]} effects of {name}"


def steps_run_again_after_losses_only(evidence: Evidence) -> Iterator[str]:
    """An attempt repeats one step at most: the one inside which an earlier attempt ended.

    An atomic step also runs again after a conflict, in the same attempt.
    """
    ended = Counter(row["operation_id"] for row in evidence.rows["attempts"])
    stored, runs = _stored(evidence), _entries(evidence, "step")
    for pk, row in _jobs(evidence).items():
        plain = [entry for entry in runs[pk] if not is_atomic(int(entry.part))]
        repeated = len(plain) - len({entry.part for entry in plain})
        # An attempt that lost its claim in a finished operation has no row.
        if repeated > max(ended[pk], row["attempt"] - 1):
            yield f"{pk} repeated {repeated} steps in {row['attempt']} attempts"
        in_attempts = Counter((entry.attempt, entry.part) for entry in plain)
        yield from (f"{pk} ran {run} twice" for run, count in in_attempts.items() if count > 1)
        for entry in runs[pk]:
            step = stored[pk].get(f"step {entry.part}")
            if step is not None and entry.attempt > step["attempt"]:
                yield f"{pk} ran step {entry.part} again in attempt {entry.attempt}"


def cursors_lose_a_beat_at_most(evidence: Evidence) -> Iterator[str]:
    """A later attempt repeats the items since the last beat, and skips none.

    No beat reaches a database that is away, and a frozen process sends none.
    """
    items = _entries(evidence, "item")
    for pk, row in _jobs(evidence).items():
        numbers = {int(entry.part) for entry in items[pk]}
        if row["status"] == Status.SUCCEEDED and numbers != set(range(ITEMS)):
            yield f"{pk} did {len(numbers)} items"
        by_attempt: dict[int, list[Entry]] = defaultdict(list)
        for entry in items[pk]:
            by_attempt[entry.attempt].append(entry)
        for attempt, entries in by_attempt.items():
            first = min(int(entry.part) for entry in entries)
            for earlier in range(1, attempt):
                again = [entry for entry in by_attempt.get(earlier, ()) if int(entry.part) >= first]
                if again and (seconds := _excess(evidence, again)) > 0:
                    yield f"{pk} lost {seconds:.1f} s too much between {earlier} and {attempt}"


def _excess(evidence: Evidence, again: list[Entry]) -> float:
    """The seconds of work that are repeated, without those that may be."""
    began, ended = min(entry.at for entry in again), max(entry.at for entry in again)
    away = [
        end - start
        for start, end in evidence.outages
        if start - evidence.lease <= ended and began <= end + evidence.lease
    ]
    allowed = BEAT_SECONDS + SLOW_SECONDS + (evidence.lease + sum(away) if away else 0)
    return ended - began - allowed


STEP_INVARIANTS = (
    steps_are_stored_once,
    atomic_steps_happen_once,
    steps_run_again_after_losses_only,
    cursors_lose_a_beat_at_most,
)
