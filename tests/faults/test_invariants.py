"""The invariants: right evidence breaches none of them, and each breach is reported."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.faults.clients import ClientRequest
from tests.faults.invariants import INVARIANTS, Evidence, breaches
from tests.faults.journal import Entry

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
}
NOON = 1795521600.0


def right() -> Evidence:
    """An operation that was lost once and succeeded in its second attempt."""
    request = ClientRequest("t", {}, "/work/", cancels=False, id="a", replies={"a"})
    request.tries = [(NOON, 0.1, 503), (NOON, 0.1, 202)]
    request.seen = [(1, "pending"), (2, "running"), (3, "succeeded")]
    return Evidence(
        rows={
            "operations": [copy.deepcopy(ROW)],
            "results": [{"operation_id": "a", "attempt": 2, "value": {"token": "t"}}],
            "attempts": [{"operation_id": "a", "number": 1, "outcome": "lost", "exception": ""}],
            "effects": [{"operation": "a", "attempt": 2}],
        },
        journal=[
            Entry(NOON + 1, "start", "a", 1, 10),
            Entry(NOON + 8, "start", "a", 2, 11),
            Entry(NOON + 9, "end", "a", 2, 11),
        ],
        requests=[request],
    )


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


def test_breaches__of_right_evidence_are_none() -> None:
    assert breaches(right()) == {}


@pytest.mark.parametrize(("rule", "change"), BREACHES)
def test_breaches__are_reported(rule: str, change: Callable[[Evidence], object]) -> None:
    evidence = right()
    change(evidence)
    assert rule in breaches(evidence)


def test_breaches__cover_each_invariant() -> None:
    assert {rule.__name__ for rule in INVARIANTS} == {rule for rule, _ in BREACHES}
