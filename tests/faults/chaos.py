"""One run: a system, clients, a seeded plan of faults, and what came of it."""

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults import journal
from tests.faults.clients import Asked, Client, wishes
from tests.faults.faults import Done, Saboteur
from tests.faults.invariants import Evidence, breaches
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
    """How much of everything, in how many seconds."""

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
    """A run's evidence and figures."""

    pairing: str
    seed: int
    scale: Scale
    evidence: Evidence
    faults: list[Done]
    breaches: dict[str, list[str]]
    exits: int
    refused: int
    drained_after: float
    seconds: float = 0.0
    errors: list[str] = field(default_factory=list)


def seed() -> int:
    """FAULTS_SEED, or the time: printed with each run, so that it can be repeated."""
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
    """Submit under faults, let it drain, judge. `path`: the one view to submit to."""
    print(f"{pairing}: FAULTS_SEED={seed}", flush=True)  # noqa: T201 what a repetition needs
    began = time.monotonic()
    with make(pairing, folder, scale, environment or {}) as system:
        saboteur = Saboteur(system)
        planned = plan(
            seed,
            count=scale.faults,
            seconds=scale.seconds,
            lease=scale.lease,
            possible=saboteur.possible(),
        )
        asked = wishes(seed, scale.operations, longest=scale.longest_job, path=path)
        clients = _clients(system, asked, scale, watches=path != "/tutorial/")
        for client in clients:
            client.start()
        saboteur.carry_out(planned)
        over = time.monotonic()
        _join(clients, scale.drain)
        rows = _drained(system, scale.drain)
        drained_after = time.monotonic() - over
        evidence = Evidence(rows, journal.read(system.journal), asked)
        errors = [*saboteur.errors, *(error for one in clients for error in one.errors)]
        return Run(
            pairing=pairing,
            seed=seed,
            scale=scale,
            evidence=evidence,
            faults=saboteur.done,
            breaches=breaches(evidence),
            exits=sum(not one.wanted for one in system.supervisor.exits),
            refused=system.logged("status=not mine"),
            drained_after=drained_after,
            seconds=time.monotonic() - began,
            errors=[repr(error) for error in errors],
        )


def _clients(system: System, asked: list[Asked], scale: Scale, *, watches: bool) -> list[Client]:
    pace = scale.seconds * 0.9 / (scale.operations / scale.clients)
    return [
        Client(
            system.base_url,
            asked[number :: scale.clients],
            pace=pace,
            seed=number,
            watches=watches,
        )
        for number in range(scale.clients)
    ]


def _join(clients: list[Client], seconds: float) -> None:
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
    """Faults by kind."""
    return dict(Counter(fault.kind for fault in run.faults))
