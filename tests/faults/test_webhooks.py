"""Webhooks under faults: each outcome is delivered at least once, in order, whoever dies."""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography", reason="needs the extra webhooks")
pytest.importorskip("httpcore", reason="needs the extra webhooks")
pytest.importorskip("standardwebhooks", reason="needs the extra webhooks")

from demo_project.processes import Process, free_port, listens, wait_for
from tests.faults import chaos
from tests.faults.clients import Client, ClientRequest, plan_requests
from tests.faults.conftest import FULL
from tests.faults.hook_invariants import HookEvidence, breaches
from tests.faults.injector import FaultInjector
from tests.faults.project.deaths import DELIVERY, SUBMIT
from tests.faults.receivers import MANNERS, MISBEHAVIOURS
from tests.faults.schedule import plan
from tests.faults.system import System

pytestmark = pytest.mark.faults

RECEIVING = [manner for manner in MANNERS if manner != "inner"]
OPERATIONS = 8
CHAOS = chaos.Scale(operations=10, faults=9, seconds=9, lease=3, longest_job=1, drain=60, clients=2)


@contextmanager
def receivers(folder: Path, journal: Path) -> Iterator[dict[str, int]]:
    """Starts a receiver of each manner. The ports by manner."""
    ports = {manner: free_port() for manner in MANNERS}
    with ExitStack() as stack:
        for manner, port in ports.items():
            arguments = [str(port), str(journal), manner, str(ports["inner"])]
            command = [sys.executable, "-m", "tests.faults.receivers", *arguments]
            process = Process(manner, command, logs=folder / "receivers")
            stack.callback(process.kill)
            wait_for(lambda: listens(port), processes=[process], what=manner)  # noqa: B023
        yield ports


def register(system: System, ports: dict[str, int]) -> dict[str, str]:
    """Make an endpoint for each receiver; the secrets by manner."""
    urls = {manner: f"http://127.0.0.1:{ports[manner]}/" for manner in RECEIVING}
    secrets = json.loads(system.manage("faults_endpoints", *urls.values()))
    return {manner: secrets[url] for manner, url in urls.items()}


def requests_of(journal: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in journal.read_text().splitlines()]


def short_jobs(count: int) -> list[ClientRequest]:
    """Submits of short jobs. Every fourth job fails once or for good."""
    manners = ("polite", "polite", "flaky", "failing")
    return [
        ClientRequest(
            f"hook-{number}",
            {"seconds": 0.2, "manner": manners[number % 4], "token": f"hook-{number}"},
            "/work/",
            cancels=False,
        )
        for number in range(count)
    ]


def test_boundaries__each_outcome_is_delivered_although_a_process_dies_at_each(
    tmp_path: Path,
) -> None:
    journal, deaths = tmp_path / "received", tmp_path / "deaths"
    deaths.mkdir()
    environment = {
        "DJANGO_SETTINGS_MODULE": "tests.faults.hooked",
        "FAULTS_DEATHS": str(deaths),
    }
    system = System(tmp_path, database=None, broker=None, lease=2, environment=environment)
    with receivers(tmp_path, journal) as ports, system:
        secrets = register(system, ports)
        requests = short_jobs(OPERATIONS)
        Client(system.base_url, requests, pace=0.5, seed=0, watches=False).run()
        rows = json.loads(system.manage("faults_deliveries", "--wait", "120"))
    evidence = HookEvidence(rows, requests_of(journal), secrets)
    assert breaches(evidence) == {}
    assert {request.id for request in requests} == set(evidence.statuses)
    assert sorted(path.name for path in deaths.iterdir()) == sorted(
        death.name for death in (*SUBMIT, *DELIVERY)
    )
    _check_receivers(evidence)


@pytest.mark.skipif(not FULL, reason="make faults runs it")
def test_chaos__each_outcome_is_delivered(tmp_path: Path) -> None:
    """Workers and servers are killed and frozen at random."""
    seed, journal = chaos.seed(), tmp_path / "received"
    environment = {"DJANGO_SETTINGS_MODULE": "tests.faults.hooked", "FAULTS_DEATHS": ""}
    system = chaos.make("PostgreSQL + Redis", tmp_path, CHAOS, environment)
    print(f"FAULTS_SEED={seed}")  # noqa: T201 a repetition needs it
    with receivers(tmp_path, journal) as ports, system:
        secrets = register(system, ports)
        injector = FaultInjector(system)
        possible = injector.possible()
        planned = plan(
            seed, count=CHAOS.faults, seconds=CHAOS.seconds, lease=CHAOS.lease, possible=possible
        )
        requests = plan_requests(seed, CHAOS.operations, longest=CHAOS.longest_job, path="/work/")
        clients = chaos.make_clients(system, requests, CHAOS)
        for client in clients:
            client.start()
        injector.carry_out(planned)
        chaos.join(clients, CHAOS.drain)
        rows = json.loads(system.manage("faults_deliveries", "--wait", str(CHAOS.drain)))
    assert breaches(HookEvidence(rows, requests_of(journal), secrets)) == {}
    assert injector.errors == []
    assert len(injector.done) == CHAOS.faults


def _check_receivers(evidence: HookEvidence) -> None:
    """Each receiver has misbehaved, and nobody followed the redirect."""
    for manner in RECEIVING:
        answers = [line["behaves"] for line in evidence.requests if line["manner"] == manner]
        assert manner == "well" or answers.count(False) >= MISBEHAVIOURS * OPERATIONS
    assert not any(line["manner"] == "inner" for line in evidence.requests)
