"""Plans the faults of a run from a seed, so that the run can be repeated."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

#: The kind of a fault -> how often it is drawn. Kinds that a system cannot have are left out.
WEIGHTS = {
    "kill child": 24,
    "kill worker": 8,
    "kill worker and children": 10,
    "freeze worker": 10,
    "freeze child": 8,
    "deploy": 8,
    "kill web child": 6,
    "restart broker": 7,
    "hang broker": 6,
    "lose messages": 4,
    "double messages": 4,
    "restart database": 3,
    "hang database": 4,
}


@dataclass(frozen=True)
class PlannedFault:
    """A fault that begins `at` seconds after the start. `seconds` is its length, if it has one."""

    at: float
    kind: str
    seconds: float
    luck: float


def plan(
    seed: int, *, count: int, seconds: float, lease: float, possible: Mapping[str, object]
) -> list[PlannedFault]:
    """`count` faults over `seconds`. Each possible kind comes at least once if `count` allows."""
    rng = random.Random(seed)
    weights = {kind: weight for kind, weight in WEIGHTS.items() if kind in possible}
    kinds = list(weights)[:count]
    kinds += rng.choices(list(weights), list(weights.values()), k=count - len(kinds))
    rng.shuffle(kinds)
    gap = seconds / count
    return [
        PlannedFault(
            at=round(gap * (place + rng.uniform(0.2, 1)), 2),
            kind=kind,
            seconds=round(_duration(rng, kind, lease), 2),
            luck=rng.random(),
        )
        for place, kind in enumerate(kinds)
    ]


def _duration(rng: random.Random, kind: str, lease: float) -> float:
    """Some freezes are longer than the lease, so that other attempts take over."""
    beyond_lease = rng.random() < (0.5 if kind.startswith("freeze") else 0.15)
    if beyond_lease and kind.startswith(("freeze", "hang")):
        return lease * rng.uniform(1.1, 1.6)
    return rng.uniform(0.3, min(4, lease * 0.6))
