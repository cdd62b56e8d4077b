"""The numbers of a run: what was promised, what broke, how long it took to mend."""

import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

from async_reply.status import FINAL
from tests.faults.chaos import Run
from tests.faults.faults import Done

#: Breaches that mean two outcomes, or an effect that happened twice.
DOUBLED = (
    "terminal_is_for_good",
    "only_the_last_attempt_wrote",
    "succeeded_has_one_result",
    "effects_happen_once",
    "keys_make_one_operation",
)


@dataclass(frozen=True)
class Figures:
    """A column of the table, in seconds.

    `found_*`: from a fault to the row being free for another attempt; `rerun_*`: to its start.
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
    kinds: dict[str, int] = field(default_factory=dict)


def of(run: Run) -> Figures:
    """What the table says of `run`."""
    evidence = run.evidence
    rows = evidence.operations
    unfinished = {pk for pk, row in rows.items() if row["status"] not in FINAL}
    made = reruns(run)
    calm = [one for one in made if not one.amid_outage]
    away = [
        seconds
        for wish in evidence.asked
        for began, seconds, status in wish.tries
        if status == 202
        and any(fault.began <= began <= fault.ended for fault in outages(run))
        # A submit that waits for the database says nothing of the broker.
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
        lost=sum(wish.id not in rows for wish in evidence.accepted),
        doubled=sum(len(run.breaches.get(rule, [])) for rule in DOUBLED),
        stuck=len(unfinished),
        breaches=sum(map(len, run.breaches.values())),
        reruns=sum(row["outcome"] == "lost" for row in evidence.rows["attempts"]),
        refused=run.refused,
        unavailable=sum(status == 503 for wish in evidence.asked for *_, status in wish.tries),
        exits=run.exits,
        found_median=statistics.median(one.found for one in calm) if calm else None,
        found_longest=max((one.found for one in calm), default=None),
        rerun_longest=max((one.started for one in calm), default=None),
        rerun_longest_amid_outages=max((one.started for one in made), default=None),
        submits_without_broker=len(away),
        submit_median=statistics.median(away) if away else None,
        submit_longest=max(away, default=None),
        seconds=run.seconds,
        kinds=dict(Counter(fault.kind for fault in run.faults)),
    )


def outages(run: Run, *targets: str) -> list[Done]:
    """When the broker was away, or whatever `targets` names."""
    names = targets or ("broker",)
    return [fault for fault in run.faults if any(name in fault.kind for name in names)]


@dataclass(frozen=True)
class Rerun:
    """A lost attempt: seconds from the fault to its discovery, and to the next one's start."""

    found: float
    started: float
    amid_outage: bool


def reruns(run: Run) -> list[Rerun]:
    """Lost attempts whose process was hit by a fault, and that were followed by another."""
    hits: dict[int, list[float]] = defaultdict(list)
    for fault in run.faults:
        for pid in fault.pids:
            hits[pid].append(fault.began)
    found_at = {
        (row["operation_id"], row["number"]): datetime.fromisoformat(row["ended_at"]).timestamp()
        for row in run.evidence.rows["attempts"]
        if row["outcome"] == "lost"
    }
    away = outages(run, "broker", "database", "lose messages")
    made = []
    for pk, starts in run.evidence.starts.items():
        for one, following in pairwise(starts):
            found = found_at.get((pk, one.attempt))
            causes = [at for at in hits[one.pid] if one.at <= at <= following.at]
            if not causes or found is None:
                continue
            began = min(causes)
            amid = any(fault.began < following.at and fault.ended > began for fault in away)
            made.append(Rerun(found - began, following.at - began, amid))
    return made
