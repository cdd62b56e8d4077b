"""The invariants: right evidence breaches none of them, and each breach is reported."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.faults.clients import ClientRequest
from tests.faults.evidence import Evidence
from tests.faults.invariants import INVARIANTS, breaches
from tests.faults.journal import Entry
from tests.faults.steps import ITEMS, KIND, STEPS, is_atomic

ROW: dict[str, Any] = {
    "id": "a",
    "kind": "faults.work",
    "status": "succeeded",
    "version": 3,
    "attempt": 2,
    "retries": 0,
    "max_retries": 5,
    "losses": 1,
    "max_losses": 2,
    "error": None,
    "input": {"token": "t", "manner": "silent"},
    "published_at": None,
    "finished_at": "2026-11-24T12:00:10+00:00",
    "events": 4,
}
NOON = 1795521600.0


def emitted(pk: str, *attempts: list[tuple[str, Any]]) -> list[dict[str, Any]]:
    """The rows of events that these attempts wrote, each in one row."""
    rows: list[dict[str, Any]] = []
    number = 0
    for attempt, parts in enumerate(attempts, 1):
        first = number + 1
        events = []
        for name, data in parts:
            number += 1
            events.append({"id": number, "event": name, "at": "now", "data": data})
        row = {"first": first, "last": number, "attempt": attempt, "events": json.dumps(events)}
        rows.append({"operation_id": pk, **row})
    return rows


def read(rows: list[dict[str, Any]], status: str) -> list[dict[str, Any]]:
    """What a reader of the whole log has seen."""
    events = [event for row in rows for event in json.loads(row["events"])]
    return [*events, {"id": len(events) + 1, "event": status, "at": "now", "data": {}}]


def right() -> Evidence:
    """An operation that was lost once and succeeded in its second attempt."""
    request = ClientRequest("t", {}, "/work/", cancels=False, id="a", replies={"a"})
    request.tries = [(NOON, 0.1, 503), (NOON, 0.1, 202)]
    request.seen = [(1, "pending"), (2, "running"), (3, "succeeded")]
    events = emitted("a", [("start", 1)], [("reset", {"after": 0}), ("start", 2), ("end", 2)])
    request.log = read(events, "succeeded")
    return Evidence(
        rows={
            "operations": [copy.deepcopy(ROW)],
            "results": [{"operation_id": "a", "attempt": 2, "value": {"token": "t"}}],
            "attempts": [{"operation_id": "a", "number": 1, "outcome": "lost", "exception": ""}],
            "effects": [{"operation": "a", "attempt": 2}],
            "events": events,
            "steps": [],
            "step_effects": [],
        },
        journal=[
            Entry(NOON + 1, "start", "a", 1, 10),
            Entry(NOON + 8, "start", "a", 2, 11),
            Entry(NOON + 9, "end", "a", 2, 11),
        ],
        requests=[request],
    )


def right_steps() -> Evidence:
    """A job of steps that was lost inside step 4 and in its loop."""
    job = {**ROW, "id": "s", "kind": KIND, "attempt": 3, "input": {"token": "s"}}
    request = ClientRequest("s", {}, "/steps/", cancels=False, id="s", replies={"s"})
    request.tries = [(NOON, 0.1, 202)]
    lines = [("step", number, 1 if number <= 4 else 2) for number in range(STEPS)]
    lines.insert(5, ("step", 4, 2))
    lines += [("item", number, 2) for number in range(10)]
    lines += [("item", number, 3) for number in range(8, ITEMS)]
    journal = [
        Entry(NOON + 1 + place / 10, event, "s", attempt, 10, part=str(number))
        for place, (event, number, attempt) in enumerate(lines)
    ]
    journal += [Entry(NOON + at, "start", "s", at, 10) for at in (1, 2, 3)]
    journal.append(Entry(NOON + 9, "end", "s", 3, 10))
    steps = range(STEPS)
    events = emitted(
        "s",
        [("step", number) for number in range(5)],
        [
            ("reset", {"after": 4}),
            *[("step", number) for number in range(4, STEPS)],
            *[("item", number) for number in range(10)],
        ],
        [("reset", {"after": 30}), *[("item", number) for number in range(8, ITEMS)]],
    )
    job["events"] = events[-1]["last"]
    lost = {"operation_id": "s", "outcome": "lost", "exception": ""}
    return Evidence(
        rows={
            "operations": [job],
            "results": [{"operation_id": "s", "attempt": 3, "value": {"token": "s"}}],
            "attempts": [{**lost, "number": number} for number in (1, 2)],
            "effects": [],
            "events": events,
            "steps": [
                {"operation_id": "s", "name": f"step {n}", "attempt": 1 + (n > 3), "value": str(n)}
                for n in steps
            ],
            "step_effects": [
                {"operation": "s", "step": f"step {n}"} for n in steps if is_atomic(n)
            ],
        },
        journal=journal,
        requests=[request],
        lease=3,
    )


def line(event: str, part: int, attempt: int, at: float = 5) -> Callable[[Evidence], None]:
    entry = Entry(NOON + at, event, "s", attempt, 10, part=str(part))
    return lambda evidence: evidence.journal.append(entry)


def step(number: int, **changes: Any) -> Callable[[Evidence], None]:
    return lambda evidence: evidence.rows["steps"][number].update(changes)


STEP_BREACHES: list[tuple[str, Callable[[Evidence], object]]] = [
    ("steps_are_stored_once", step(7, value="8")),
    ("steps_are_stored_once", lambda e: e.rows["steps"].append(e.rows["steps"][3])),
    ("steps_are_stored_once", lambda e: e.rows["steps"].pop(3)),
    ("steps_are_stored_once", lambda e: e.rows["steps"].pop()),
    ("atomic_steps_happen_once", lambda e: e.rows["step_effects"].pop()),
    ("atomic_steps_happen_once", lambda e: e.rows["step_effects"].extend(e.rows["step_effects"])),
    ("steps_run_again_after_losses_only", line("step", 2, 1)),
    ("steps_run_again_after_losses_only", line("step", 3, 2)),
    (
        "steps_run_again_after_losses_only",
        lambda e: [line("step", number, 3)(e) for number in (14, 16, 18)],
    ),
    (
        "cursors_lose_a_beat_at_most",
        lambda e: [line("item", 0, attempt, at=at)(e) for attempt, at in ((2, 0), (3, 5))],
    ),
    ("cursors_lose_a_beat_at_most", lambda e: e.journal.remove(_item(e, 20))),
]


def _item(evidence: Evidence, number: int) -> Entry:
    return next(e for e in evidence.journal if e.event == "item" and e.part == str(number))


def row(**changes: Any) -> Callable[[Evidence], None]:
    return lambda evidence: evidence.rows["operations"][0].update(changes)


def request(**changes: Any) -> Callable[[Evidence], None]:
    def change(evidence: Evidence) -> None:
        evidence.requests[0] = replace(evidence.requests[0], **changes)

    return change


def start(at: float, attempt: int) -> Callable[[Evidence], None]:
    return lambda evidence: evidence.journal.append(Entry(NOON + at, "start", "a", attempt, 12))


BREACHES: list[tuple[str, Callable[[Evidence], object]]] = [
    ("accepted_has_a_row", request(id="b")),
    ("accepted_has_a_row", row(status="running")),
    ("everything_was_accepted", request(id="")),
    ("everything_was_accepted", request(tries=[(NOON, 0.1, 500)])),
    ("final_status_stays", request(seen=[(3, "failed")])),
    ("final_status_stays", request(seen=[(3, "running"), (2, "pending")])),
    ("only_the_last_attempt_wrote", row(attempt=3)),
    ("succeeded_has_one_result", lambda evidence: evidence.rows["results"].clear()),
    ("succeeded_has_one_result", row(status="failed", error={"code": "internal-error"})),
    ("succeeded_has_one_result", row(input={"token": "other"})),
    ("ran_at_least_once", lambda evidence: evidence.journal.pop()),
    ("ran_at_least_once", row(status="failed", error={"code": "worker-lost"})),
    ("attempts_start_once", start(8.5, 2)),
    ("attempts_start_once", start(8.5, 3)),
    ("nothing_starts_after_the_end", start(11, 2)),
    ("nothing_starts_after_the_end", row(attempt=0)),
    ("budgets_hold", row(losses=3)),
    ("budgets_hold", row(max_losses=0)),
    ("effects_happen_once", lambda evidence: evidence.rows["effects"].clear()),
    ("effects_happen_once", lambda e: e.rows["effects"].append({"operation": "a", "attempt": 1})),
    ("keys_make_one_operation", request(replies={"a", "b"})),
    ("keys_make_one_operation", lambda e: e.rows["operations"].append({**ROW, "id": "b"})),
    ("cancels_are_kept", request(cancel_answers=[(200, "canceled")])),
]


def change_events(change: Callable[[list[Any]], object], row: int = -1) -> Any:
    """Change the list of events in a row."""

    def act(evidence: Evidence) -> None:
        rows = evidence.rows["events"]
        events = json.loads(rows[row]["events"])
        change(events)
        rows[row]["events"] = json.dumps(events)

    return act


EVENT_BREACHES: list[tuple[str, Callable[[Evidence], object]]] = [
    ("events_are_numbered", row(events=5)),
    ("events_are_numbered", lambda e: e.rows["events"].pop(0)),
    ("events_are_numbered", change_events(lambda events: events.pop(1))),
    ("events_are_of_the_attempt_in_charge", lambda e: e.rows["events"][0].update(attempt=3)),
    (
        "kept_events_tell_the_whole_job",
        change_events(lambda events: events[0].update(event="start")),
    ),
    ("kept_events_tell_the_whole_job", change_events(lambda events: events.pop())),
    (
        "kept_events_tell_the_whole_job",
        change_events(lambda events: events[0]["data"].update(after=1)),
    ),
    ("readers_saw_what_was_committed", lambda e: e.requests[0].log.pop(1)),
    ("readers_saw_what_was_committed", lambda e: e.requests[0].log[1].update(data="other")),
    ("readers_saw_what_was_committed", lambda e: e.requests[0].log[-1].update(id=9)),
    ("readers_saw_what_was_committed", lambda e: e.requests[0].log.insert(1, e.requests[0].log[0])),
]


@pytest.mark.parametrize("evidence", [right(), right_steps()], ids=["plain", "steps"])
def test_breaches__of_right_evidence_are_none(evidence: Evidence) -> None:
    assert breaches(evidence) == {}


@pytest.mark.parametrize(("rule", "change"), [*BREACHES, *STEP_BREACHES, *EVENT_BREACHES])
def test_breaches__are_reported(rule: str, change: Callable[[Evidence], object]) -> None:
    evidence = right_steps() if (rule, change) in STEP_BREACHES else right()
    change(evidence)
    assert rule in breaches(evidence)


def test_cursors__may_lose_a_lease_while_the_database_is_away() -> None:
    evidence = right_steps()
    line("item", 0, 3)(evidence)
    slow = [replace(e, at=e.at + 5 * (e.attempt == 2 and e.part == "9")) for e in evidence.journal]
    evidence.journal = slow
    assert "cursors_lose_a_beat_at_most" in breaches(evidence)
    evidence.outages = [(NOON + 4, NOON + 8)]
    assert breaches(evidence) == {}


def test_breaches__cover_each_invariant() -> None:
    assert {rule.__name__ for rule in INVARIANTS} == {
        rule for rule, _ in [*BREACHES, *STEP_BREACHES, *EVENT_BREACHES]
    }
