"""The numbers of a run: what was promised, what broke, how long it took to mend."""

import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass, field
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
    """A column of the table, in seconds; `rerun_*` from a fault to the next attempt's start."""

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
    rerun_median: float | None
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
    calm, all_reruns = reruns(run)
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
        rerun_median=statistics.median(calm) if calm else None,
        rerun_longest=max(calm, default=None),
        rerun_longest_amid_outages=max(all_reruns, default=None),
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


def reruns(run: Run) -> tuple[list[float], list[float]]:
    """Seconds from a fault to the next start, where broker and database were there; and all."""
    hits: dict[int, list[float]] = defaultdict(list)
    for fault in run.faults:
        for pid in fault.pids:
            hits[pid].append(fault.began)
    lost = {
        (row["operation_id"], row["number"])
        for row in run.evidence.rows["attempts"]
        if row["outcome"] == "lost"
    }
    away = outages(run, "broker", "database")
    calm, everything = [], []
    for pk, starts in run.evidence.starts.items():
        for one, following in pairwise(starts):
            causes = [at for at in hits[one.pid] if one.at <= at <= following.at]
            if not causes or (pk, one.attempt) not in lost:
                continue
            waited = following.at - min(causes)
            everything.append(waited)
            if not any(f.began < following.at and f.ended > min(causes) for f in away):
                calm.append(waited)
    return calm, everything
