"""Computes the figures of a run: accepted operations, breaches, times of recovery."""

import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING

from async_reply.status import FINAL
from tests.faults.injector import Fault
from tests.faults.steps import KIND

if TYPE_CHECKING:
    from tests.faults.chaos import Run

#: The invariants whose breach means two outcomes, or an effect that happened twice.
DOUBLED = (
    "final_status_stays",
    "only_the_last_attempt_wrote",
    "succeeded_has_one_result",
    "effects_happen_once",
    "keys_make_one_operation",
    "steps_are_stored_once",
    "atomic_steps_happen_once",
)


@dataclass(frozen=True)
class Figures:
    """A column of the table. Times are in seconds.

    `found_*`: from a fault until another attempt may claim the row. `rerun_*`: from a fault until
    the next attempt starts.
    """

    pairing: str
    seed: int
    accepted: int
    faults: int
    lost: int
    doubled: int
    stuck: int
    breaches: int
    reruns: int
    refused: int
    unavailable: int
    exits: int
    found_median: float | None
    found_longest: float | None
    rerun_longest: float | None
    rerun_longest_amid_outages: float | None
    submits_without_broker: int
    submit_median: float | None
    submit_longest: float | None
    seconds: float
    #: Jobs of steps that succeeded, and how many steps and items ran more than once.
    stepped: int = 0
    steps_again: int = 0
    items_again: int = 0
    kinds: dict[str, int] = field(default_factory=dict)


def of(run: "Run") -> Figures:
    """The figures of `run`."""
    evidence = run.evidence
    rows = evidence.operations
    unfinished = {pk for pk, row in rows.items() if row["status"] not in FINAL}
    all_reruns = reruns(run)
    calm = [rerun for rerun in all_reruns if not rerun.amid_outage]
    away = [
        seconds
        for request in evidence.requests
        for began, seconds, status in request.tries
        if status == 202
        and any(fault.began <= began <= fault.ended for fault in outages(run))
        # A submit that waits for the database says nothing about the broker.
        and not any(
            fault.began <= began + seconds and began <= fault.ended
            for fault in outages(run, "database")
        )
    ]
    return Figures(
        pairing=run.pairing,
        seed=run.seed,
        accepted=len(evidence.accepted),
        faults=len(run.faults),
        lost=sum(request.id not in rows for request in evidence.accepted),
        doubled=sum(len(run.breaches.get(rule, [])) for rule in DOUBLED),
        stuck=len(unfinished),
        breaches=sum(map(len, run.breaches.values())),
        reruns=sum(row["outcome"] == "lost" for row in evidence.rows["attempts"]),
        refused=run.refused,
        unavailable=sum(
            status == 503 for request in evidence.requests for *_, status in request.tries
        ),
        exits=run.exits,
        found_median=statistics.median(rerun.discovered_after for rerun in calm) if calm else None,
        found_longest=max((rerun.discovered_after for rerun in calm), default=None),
        rerun_longest=max((rerun.started_after for rerun in calm), default=None),
        rerun_longest_amid_outages=max((rerun.started_after for rerun in all_reruns), default=None),
        submits_without_broker=len(away),
        submit_median=statistics.median(away) if away else None,
        submit_longest=max(away, default=None),
        seconds=run.seconds,
        stepped=sum(row["kind"] == KIND and row["status"] == "succeeded" for row in rows.values()),
        steps_again=_again(run, "step"),
        items_again=_again(run, "item"),
        kinds=dict(Counter(fault.kind for fault in run.faults)),
    )


def _again(run: "Run", event: str) -> int:
    """How many runs of a step, or of an item, were not the first ones."""
    runs = Counter((line.id, line.part) for line in run.evidence.journal if line.event == event)
    return runs.total() - len(runs)


def outages(run: "Run", *targets: str) -> list[Fault]:
    """The faults of the broker, or of other `targets`."""
    names = targets or ("broker",)
    return [fault for fault in run.faults if any(name in fault.kind for name in names)]


@dataclass(frozen=True)
class Rerun:
    """A lost attempt: the seconds from the fault to the rescue, and to the next attempt's start."""

    discovered_after: float
    started_after: float
    amid_outage: bool


def reruns(run: "Run") -> list[Rerun]:
    """The lost attempts whose process a fault hit and after which another attempt started."""
    hits: dict[int, list[float]] = defaultdict(list)
    for fault in run.faults:
        for pid in fault.pids:
            hits[pid].append(fault.began)
    discovered_at = {
        (row["operation_id"], row["number"]): datetime.fromisoformat(row["ended_at"]).timestamp()
        for row in run.evidence.rows["attempts"]
        if row["outcome"] == "lost"
    }
    away = outages(run, "broker", "database", "lose messages")
    lost_attempts = []
    for pk, starts in run.evidence.starts.items():
        for start, following in pairwise(starts):
            discovered = discovered_at.get((pk, start.attempt))
            causes = [at for at in hits[start.pid] if start.at <= at <= following.at]
            if not causes or discovered is None:
                continue
            began = min(causes)
            amid = any(fault.began < following.at and fault.ended > began for fault in away)
            lost_attempts.append(Rerun(discovered - began, following.at - began, amid))
    return lost_attempts
