"""What breaks when: drawn from a seed, so that a run can be repeated."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

#: How often each fault comes, by name; those a system cannot have are left out by it.
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
class Planned:
    """A fault that begins `at` seconds after the start and lasts `seconds`, where it can last."""

    at: float
    kind: str
    seconds: float
    luck: float


def plan(
    seed: int, *, count: int, seconds: float, lease: float, possible: Mapping[str, object]
) -> list[Planned]:
    """`count` faults spread over `seconds`, each possible kind at least once where they suffice."""
    rng = random.Random(seed)
    weights = {kind: weight for kind, weight in WEIGHTS.items() if kind in possible}
    kinds = list(weights)[:count]
    kinds += rng.choices(list(weights), list(weights.values()), k=count - len(kinds))
    rng.shuffle(kinds)
    gap = seconds / count
    return [
        Planned(
            at=round(gap * (place + rng.uniform(0.2, 1)), 2),
            kind=kind,
            seconds=round(_duration(rng, kind, lease), 2),
            luck=rng.random(),
        )
        for place, kind in enumerate(kinds)
    ]


def _duration(rng: random.Random, kind: str, lease: float) -> float:
    """Some freezes outlast the lease: those make zombies, or an outage that all leases miss."""
    beyond_lease = rng.random() < (0.5 if kind.startswith("freeze") else 0.15)
    if beyond_lease and kind.startswith(("freeze", "hang")):
        return lease * rng.uniform(1.1, 1.6)
    return rng.uniform(0.3, min(4, lease * 0.6))
