"""What makes a worker end by itself, and what keeps it from that."""

import json
from pathlib import Path

import pytest

from tests.faults import journal
from tests.faults.clients import Asked, Client
from tests.faults.conftest import FULL
from tests.faults.faults import Done, Saboteur
from tests.faults.schedule import Planned
from tests.faults.servers import Redis
from tests.faults.system import CONCURRENCY, System

pytestmark = pytest.mark.faults


@pytest.mark.skipif(not FULL, reason="make faults runs it")
def test_worker__outlives_a_restart_of_redis_with_all_its_processes_busy(tmp_path: Path) -> None:
    """Without `worker_disable_prefetch` a message parked behind them makes it exit."""
    wishes = []
    for number in range(CONCURRENCY + 1):
        body = {"seconds": 7, "manner": "silent", "token": f"long-{number}"}
        wishes.append(Asked(f"long-{number}", body, "/work/", cancels=False))
    with System(tmp_path, database=None, broker=Redis(), lease=20, workers=1) as system:
        Client(system.base_url, wishes, pace=0, seed=0, watches=False, repeats=0).run()
        system.wait_for(lambda: len(journal.read(system.journal)) >= CONCURRENCY)
        Saboteur(system).restart("broker")(Planned(0, "restart broker", 3, 0), Done("", 0))
        rows = json.loads(system.manage("faults_rows", "--wait", "90"))
        exits = system.supervisor.exits
    assert [row["status"] for row in rows["operations"]] == ["succeeded"] * len(wishes)
    assert exits == []
