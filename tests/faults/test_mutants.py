"""The suite detects faults: mutants of the product breach invariants, and so do tutorials."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults import chaos, scenarios
from tests.faults.conftest import FULL
from tests.faults.evidence import Evidence
from tests.faults.invariants import breaches
from tests.faults.system import System

pytestmark = pytest.mark.faults

Scenario = Callable[[System], None]

SCENARIOS = {
    "zombie": scenarios.zombie,
    "duplicate": scenarios.duplicate,
    "calm": scenarios.calm,
    "killed": scenarios.killed,
    "no broker": scenarios.no_broker,
    "killed in steps": scenarios.killed_in_steps,
    "killed in the loop": scenarios.killed_in_loop,
}
CAUGHT = {
    "no fence": ("zombie", "only_the_last_attempt_wrote"),
    "claims anything": ("duplicate", "only_the_last_attempt_wrote"),
    "publishes before the commit": ("calm", "calm_needs_no_second_message"),
    "rescues the living": ("calm", "calm_loses_no_attempt"),
    "forgets a failed publish": ("no broker", "accepted_has_a_row"),
    "stores steps later": ("killed in steps", "atomic_steps_happen_once"),
    "forgets cursors": ("killed in the loop", "cursors_lose_a_beat_at_most"),
    "never rescues": ("killed", "accepted_has_a_row"),
    "forgets the last events": ("calm", "kept_events_tell_the_whole_job"),
}


def judge(evidence: Evidence, scenario: str) -> dict[str, list[str]]:
    """The breaches. Without a fault, a second message or a lost attempt is a breach, too."""
    rules = breaches(evidence)
    if scenario == "calm":
        again = [row["id"] for row in evidence.operations.values() if row["publishes"] > 1]
        rules |= {"calm_needs_no_second_message": again} if again else {}
        lost = [row["operation_id"] for row in evidence.rows["attempts"]]
        rules |= {"calm_loses_no_attempt": lost} if lost else {}
    return rules


@pytest.mark.skipif(not FULL, reason="make faults runs it")
@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario__breaches_nothing(name: str, tmp_path: Path) -> None:
    evidence = scenarios.play(SCENARIOS[name], tmp_path)
    assert judge(evidence, name) == {}


@pytest.mark.parametrize("mutant", CAUGHT if FULL else ["no fence"])
def test_mutant__breaches_its_invariant(mutant: str, tmp_path: Path) -> None:
    scenario, rule = CAUGHT[mutant]
    evidence = scenarios.play(SCENARIOS[scenario], tmp_path, mutant=mutant)
    assert rule in judge(evidence, scenario)


@pytest.mark.skipif(not FULL, reason="make faults runs it")
def test_tutorials__lose_operations(tmp_path: Path) -> None:
    """`on_commit(task.delay)` and a status column, under plans that do not harm the product.

    A kill may hit the moment between two jobs, so one plan may lose no job by chance.
    """
    assert any(_tutorials_lose(tmp_path / str(seed), seed=seed) for seed in range(2, 6))


def _tutorials_lose(folder: Path, *, seed: int) -> set[str]:
    scale = replace(chaos.SHORT, operations=60, faults=12, seconds=12, drain=8)
    run = chaos.run("SQLite + files", folder, scale=scale, seed=seed, path="/tutorial/")
    accepted = {request.id for request in run.evidence.accepted}
    rows = run.evidence.rows["tutorial"]
    return accepted - {str(row["id"]) for row in rows if row["status"] == "succeeded"}
