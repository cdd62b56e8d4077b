"""A setting keeps a worker from ending by itself after a restart of Redis."""

import json
from pathlib import Path

import pytest

from tests.faults import journal
from tests.faults.clients import Client, ClientRequest
from tests.faults.conftest import FULL
from tests.faults.injector import Fault, FaultInjector
from tests.faults.schedule import PlannedFault
from tests.faults.servers import Redis
from tests.faults.system import CONCURRENCY, System

pytestmark = pytest.mark.faults


@pytest.mark.skipif(not FULL, reason="make faults runs it")
def test_worker__with_busy_processes_survives_a_restart_of_redis(tmp_path: Path) -> None:
    """Without `worker_disable_prefetch`, a worker exits if it has reserved one more message."""
    requests = []
    for number in range(CONCURRENCY + 1):
        body = {"seconds": 7, "manner": "silent", "token": f"long-{number}"}
        requests.append(ClientRequest(f"long-{number}", body, "/work/", cancels=False))
    with System(tmp_path, database=None, broker=Redis(), lease=20, workers=1) as system:
        Client(system.base_url, requests, pace=0, seed=0, watches=False, repeats=0).run()
        system.wait_for(lambda: len(journal.read(system.journal)) >= CONCURRENCY)
        restart = FaultInjector(system).restart("broker")
        restart(PlannedFault(0, "restart broker", 3, 0), Fault("", 0))
        rows = json.loads(system.manage("faults_rows", "--wait", "90"))
        exits = system.supervisor.exits
    assert [row["status"] for row in rows["operations"]] == ["succeeded"] * len(requests)
    assert exits == []
