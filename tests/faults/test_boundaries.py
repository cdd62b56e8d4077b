"""A process dies at a step of an operation. The operation ends once nevertheless."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import journal
from tests.faults.evidence import Evidence
from tests.faults.invariants import breaches
from tests.faults.project.boundaries import ATTEMPT, RELAY, RESCUE, SUBMIT
from tests.faults.servers import MariaDB, PostgreSQL, Server
from tests.faults.system import System

pytestmark = pytest.mark.faults

DATABASES: dict[str, Callable[[], Server] | None] = {
    "sqlite": None,
    "postgresql": PostgreSQL,
    "mariadb": MariaDB,
}


@pytest.mark.parametrize("name", DATABASES)
def test_boundary__each_operation_ends_once(name: str, tmp_path: Path) -> None:
    make = DATABASES[name]
    system = System(tmp_path, database=make() if make else None, broker=None, lease=1)
    try:
        system.start(web=False, workers=False)
        system.manage("faults_boundaries")
        rows = json.loads(system.manage("faults_rows"))
    finally:
        system.stop()
    evidence = Evidence(rows, journal.read(system.journal), [])
    assert breaches(evidence) == {}
    tokens = sorted(row["input"]["token"] for row in rows["operations"])
    boundaries = (*SUBMIT, *RELAY, *ATTEMPT, *RESCUE)
    assert tokens == sorted(boundary.name for boundary in boundaries if boundary.accepted)
