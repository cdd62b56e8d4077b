"""A backlog of which no message is lost makes no storm of second messages."""

import json
from pathlib import Path

import pytest

from async_reply import conf
from tests.faults import journal
from tests.faults.conftest import FULL
from tests.faults.invariants import Evidence, breaches
from tests.faults.servers import Redis
from tests.faults.system import System

pytestmark = pytest.mark.faults


def waiting(count: int, folder: Path, *, mutant: str = "") -> Evidence:
    """What is left of a backlog of `count`, all of it there before the first worker."""
    environment = {"FAULTS_MUTANT": mutant}
    system = System(folder, database=None, broker=Redis(), lease=20, environment=environment)
    try:
        system.start(web=False, workers=False)
        system.manage("faults_backlog", str(count))
        system.supervisor.start()
        rows = json.loads(system.manage("faults_rows", "--wait", "600", timeout=700))
        return Evidence(rows, journal.read(system.journal), [])
    finally:
        system.stop()


def messages(evidence: Evidence) -> int:
    return sum(int(row["publishes"]) for row in evidence.operations.values())


def bound(count: int) -> float:
    return 1.1 * count + float(conf.DEFAULTS["BATCH"])


def test_backlog__makes_no_storm(tmp_path: Path) -> None:
    count = 10_000 if FULL else 500
    evidence = waiting(count, tmp_path)
    print(f"{messages(evidence)} messages for {count} jobs")  # noqa: T201 a figure of the docs
    assert breaches(evidence) == {}
    assert len(evidence.operations) == count
    assert messages(evidence) <= bound(count)


@pytest.mark.skipif(not FULL, reason="make faults runs it")
def test_backlog__storms_when_age_alone_counts(tmp_path: Path) -> None:
    evidence = waiting(3_000, tmp_path, mutant="republishes by age")
    assert messages(evidence) > bound(3_000)
