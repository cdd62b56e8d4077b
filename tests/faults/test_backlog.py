"""A long backlog does not cause second messages, if no message is lost."""

import json
from pathlib import Path

import pytest

from async_reply import conf
from tests.faults import journal
from tests.faults.conftest import FULL
from tests.faults.evidence import Evidence
from tests.faults.invariants import breaches
from tests.faults.servers import Redis
from tests.faults.system import System

pytestmark = pytest.mark.faults


def work_off(count: int, folder: Path, *, mutant: str = "") -> Evidence:
    """The evidence after a backlog of `count` jobs, submitted before the first worker starts."""
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


def most_messages(count: int) -> float:
    """The number of messages that `count` jobs may take."""
    return 1.1 * count + float(conf.DEFAULTS["BATCH"])


@pytest.mark.slow
def test_backlog__takes_one_message_for_a_job(tmp_path: Path) -> None:
    count = 10_000 if FULL else 500
    evidence = work_off(count, tmp_path)
    print(f"{messages(evidence)} messages for {count} jobs")  # noqa: T201 a figure of the docs
    assert breaches(evidence) == {}
    assert len(evidence.operations) == count
    assert messages(evidence) <= most_messages(count)


@pytest.mark.skipif(not FULL, reason="make faults runs it")
def test_backlog__takes_more_messages_if_only_age_counts(tmp_path: Path) -> None:
    evidence = work_off(3_000, tmp_path, mutant="republishes by age")
    assert messages(evidence) > most_messages(3_000)
