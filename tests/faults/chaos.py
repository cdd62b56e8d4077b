"""Runs a system with clients under a random plan of faults, and collects the evidence."""

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults import journal
from tests.faults.clients import Client, ClientRequest, plan_requests
from tests.faults.evidence import Evidence
from tests.faults.injector import Fault, FaultInjector
from tests.faults.invariants import breaches
from tests.faults.schedule import plan
from tests.faults.servers import MariaDB, PostgreSQL, RabbitMQ, Redis, Server
from tests.faults.system import System

Maker = Callable[[], Server]
PAIRINGS: dict[str, tuple[Maker | None, Maker | None]] = {
    "PostgreSQL + RabbitMQ": (PostgreSQL, RabbitMQ),
    "PostgreSQL + Redis": (PostgreSQL, Redis),
    "MariaDB + Redis": (MariaDB, Redis),
    "SQLite + files": (None, None),
}


@dataclass(frozen=True)
class Scale:
    """The size of a run: the numbers of operations, faults, clients and workers, and seconds."""

    operations: int
    faults: int
    seconds: float
    lease: float
    longest_job: float
    drain: float
    clients: int = 6
    workers: int = 3


SHORT = Scale(operations=150, faults=16, seconds=22, lease=3, longest_job=3, drain=60)
FULL = Scale(operations=1050, faults=105, seconds=330, lease=20, longest_job=12, drain=180)


@dataclass
class Run:
    """The evidence of a run, and its figures. Times are in seconds."""

    pairing: str
    seed: int
    scale: Scale
    evidence: Evidence
    faults: list[Fault]
    breaches: dict[str, list[str]]
    exits: int
    refused: int
    drained_after: float
    seconds: float = 0.0
    errors: list[str] = field(default_factory=list)


def seed() -> int:
    """FAULTS_SEED, or the time. Each run prints its seed, so that the run can be repeated."""
    return int(os.environ.get("FAULTS_SEED") or time.time())


def make(pairing: str, folder: Path, scale: Scale, environment: Mapping[str, str]) -> System:
    database, broker = PAIRINGS[pairing]
    return System(
        folder,
        database=database() if database else None,
        broker=broker() if broker else None,
        lease=scale.lease,
        workers=scale.workers,
        environment=environment,
    )


def run(
    pairing: str,
    folder: Path,
    *,
    scale: Scale,
    seed: int,
    path: str = "",
    environment: Mapping[str, str] | None = None,
) -> Run:
    """Submit under faults, wait for the ends, and judge. `path`: the only view to submit to."""
    print(f"{pairing}: FAULTS_SEED={seed}", flush=True)  # noqa: T201 a repetition needs it
    began = time.monotonic()
    with make(pairing, folder, scale, environment or {}) as system:
        injector = FaultInjector(system)
        planned = plan(
            seed,
            count=scale.faults,
            seconds=scale.seconds,
            lease=scale.lease,
            possible=injector.possible(),
        )
        requests = plan_requests(seed, scale.operations, longest=scale.longest_job, path=path)
        clients = make_clients(system, requests, scale, watches=path != "/tutorial/")
        for client in clients:
            client.start()
        injector.carry_out(planned)
        faults_ended_at = time.monotonic()
        join(clients, scale.drain)
        rows = _drained(system, scale.drain)
        drained_after = time.monotonic() - faults_ended_at
        evidence = Evidence(
            rows,
            journal.read(system.journal),
            requests,
            lease=scale.lease,
            outages=[(fault.began, fault.ended) for fault in injector.done if fault.stops_beats],
        )
        errors = [*injector.errors, *(error for client in clients for error in client.errors)]
        return Run(
            pairing=pairing,
            seed=seed,
            scale=scale,
            evidence=evidence,
            faults=injector.done,
            breaches=breaches(evidence),
            exits=sum(not ended.wanted for ended in system.supervisor.exits),
            refused=system.logged("claim lost"),
            drained_after=drained_after,
            seconds=time.monotonic() - began,
            errors=[repr(error) for error in errors],
        )


def make_clients(
    system: System, requests: list[ClientRequest], scale: Scale, *, watches: bool = True
) -> list[Client]:
    pace = scale.seconds * 0.9 / (scale.operations / scale.clients)
    return [
        Client(
            system.base_url,
            requests[number :: scale.clients],
            pace=pace,
            seed=number,
            watches=watches,
        )
        for number in range(scale.clients)
    ]


def join(clients: list[Client], seconds: float) -> None:
    give_up = time.monotonic() + seconds
    for client in clients:
        client.join(max(0.1, give_up - time.monotonic()))
        client.stop()
        client.join(20)


def _drained(system: System, seconds: float) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = json.loads(
        system.manage("faults_rows", "--wait", str(seconds), timeout=seconds + 60)
    )
    return rows


def counts(run: Run) -> dict[str, int]:
    """The number of faults of each kind."""
    return dict(Counter(fault.kind for fault in run.faults))
