"""The invariants of the event log: numbered, written by the attempt in charge, the same to readers.

Each function yields a sentence for each breach, as those of invariants.py do.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby, pairwise
from typing import Any

from async_reply.status import Status
from async_reply.stored_events import RESET
from tests.faults.evidence import Evidence
from tests.faults.steps import ITEMS, KIND, STEPS, is_atomic

Event = dict[str, Any]


def _rows(evidence: Evidence) -> dict[str, list[dict[str, Any]]]:
    rows = defaultdict(list)
    for row in evidence.rows["events"]:
        rows[row["operation_id"]].append(row)
    return rows


def _log(rows: list[dict[str, Any]]) -> list[Event]:
    return [event for row in rows for event in json.loads(row["events"])]


def _kept(events: list[Event]) -> list[Event]:
    """The events that a reader still has, who drops what each reset makes void."""
    kept: list[Event] = []
    for event in events:
        if event["event"] == RESET:
            kept = [earlier for earlier in kept if earlier["id"] <= event["data"]["after"]]
        else:
            kept.append(event)
    return kept


def events_are_numbered(evidence: Evidence) -> Iterator[str]:
    """The numbers of an operation's events go from 1 to the number in its row, without a gap."""
    stored = _rows(evidence)
    for pk, row in evidence.operations.items():
        numbers = [event["id"] for event in _log(stored[pk])]
        if numbers != list(range(1, row["events"] + 1)):
            yield f"{pk} has {row['events']} events and stored {numbers}"


def events_are_of_the_attempt_in_charge(evidence: Evidence) -> Iterator[str]:
    """Once an attempt has written events, no earlier attempt does."""
    for pk, rows in _rows(evidence).items():
        for earlier, later in pairwise(rows):
            if later["attempt"] < earlier["attempt"]:
                yield f"{pk}: attempt {later['attempt']} wrote after {earlier['attempt']}"


def kept_events_tell_the_whole_job(evidence: Evidence) -> Iterator[str]:
    """What is left of the events of a job that succeeded tells each of its parts once."""
    stored = _rows(evidence)
    for pk, row in evidence.operations.items():
        if row["status"] != Status.SUCCEEDED:
            continue
        told = [(event["event"], event["data"]) for event in _kept(_log(stored[pk]))]
        if row["kind"] == "faults.work":
            if told != [("start", row["attempt"]), ("end", row["attempt"])]:
                yield f"{pk} tells {told} in attempt {row['attempt']}"
        elif row["kind"] == KIND:
            steps = [("step", number) for number in range(STEPS)]
            items = [("item", number) for number in range(ITEMS)]
            # The function of an atomic step is called again after a conflict, and emits again.
            once = [
                part
                for part, same in groupby(told)
                if len(list(same)) == 1 or (part[0] == "step" and is_atomic(part[1]))
            ]
            if once != steps + items:
                yield f"{pk} tells {told}"


def readers_saw_what_was_committed(evidence: Evidence) -> Iterator[str]:
    """The pages of a reader, put together over all its tries, are the log from its start."""
    stored = _rows(evidence)
    for request in evidence.accepted:
        row = evidence.operations.get(request.id)
        if row is None or not request.log:
            continue
        *seen, last = request.log
        log = _log(stored[request.id])
        if last["event"] not in list(Status):
            seen, last = request.log, {}
        elif (last["id"], last["event"]) != (row["events"] + 1, row["status"]):
            yield f"{request.id} showed the outcome {last['id']} {last['event']}"
        elif len(seen) != len(log):
            yield f"{request.id} showed {len(seen)} of {len(log)} events before the outcome"
        if seen != log[: len(seen)]:
            yield f"{request.id} showed {seen}, and stored {log}"


EVENT_INVARIANTS = (
    events_are_numbered,
    events_are_of_the_attempt_in_charge,
    kept_events_tell_the_whole_job,
    readers_saw_what_was_committed,
)
