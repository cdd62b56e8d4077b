"""The laws of durations for `python -m benchmarks.polling`, which measures the cost of polling.

The estimator's constants were chosen with `LAWS`. `HELD_OUT` had no part in the choice.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import NormalDist

#: A share of the operations, from 0 to 1 -> the seconds within which they have ended.
Quantile = Callable[[float], float]

#: The number of past durations in a history.
PAST = 100
_standard = NormalDist()


@dataclass(frozen=True)
class Law:
    """Durations in seconds, given by their quantiles.

    `past` is the length of the history. `factor(age)` multiplies the duration of the operation
    that lies `age` operations back, where the history follows another law.
    """

    name: str
    quantile: Quantile
    past: int = PAST
    factor: Callable[[int], float] | None = None
    held_out: bool = False

    def draw(self, chance: random.Random) -> float:
        return self.quantile(chance.random())

    def history(self, chance: random.Random) -> list[float]:
        """Past durations, oldest first."""
        durations = [self.draw(chance) for _ in range(self.past)]
        if self.factor is None:
            return durations
        ages = range(self.past - 1, -1, -1)
        return [duration * self.factor(age) for age, duration in zip(ages, durations, strict=True)]


def constant(value: float) -> Quantile:
    return lambda share: value


def uniform(low: float, high: float) -> Quantile:
    return lambda share: low + (high - low) * share


def normal(mean: float, deviation: float) -> Quantile:
    return lambda share: max(0.01, mean + deviation * _score(share))


def lognormal(median: float, sigma: float) -> Quantile:
    return lambda share: median * math.exp(sigma * _score(share))


def exponential(mean: float, start: float = 0.0) -> Quantile:
    return lambda share: start - mean * math.log1p(-share)


def weibull(shape: float, scale: float) -> Quantile:
    return lambda share: scale * (-math.log1p(-share)) ** (1 / shape)


def pareto(power: float, least: float) -> Quantile:
    return lambda share: least * (1 - share) ** (-1 / power)


def either(share: float, first: Quantile, second: Quantile) -> Quantile:
    """A duration of `first` with the probability `share`, else one of `second`."""
    return lambda at: first(at / share) if at < share else second((at - share) / (1 - share))


def _score(share: float) -> float:
    return _standard.inv_cdf(min(max(share, 1e-12), 1 - 1e-12))


LAWS = [
    Law("constant 10 s", constant(10)),
    Law("normal 10 ± 1 s", normal(10, 1)),
    Law("lognormal 10 s, narrow (sigma 0.25)", lognormal(10, 0.25)),
    Law("lognormal 10 s, wide (sigma 1)", lognormal(10, 1)),
    Law("exponential, mean 10 s", exponential(10)),
    Law("uniform 5 to 15 s", uniform(5, 15)),
    Law("bimodal 1 s (70 %), 60 s", either(0.7, normal(1, 0.1), normal(60, 3))),
    Law("heavy tail (Pareto 1.5)", pareto(1.5, 3)),
    Law("drift: 7 → 20 s", lognormal(20, 0.25), factor=lambda age: 3 ** (-age / PAST)),
    Law("cold start: 5 past, lognormal 10 s (sigma 0.5)", lognormal(10, 0.5), past=5),
    Law("sub-second: lognormal 0.3 s", lognormal(0.3, 0.4)),
]

HELD_OUT = [
    Law("constant 10.4 s", constant(10.4)),
    Law("uniform 0 to 20 s", uniform(0, 20)),
    Law("uniform 100 to 300 s", uniform(100, 300)),
    Law("lognormal 3 s (sigma 0.5)", lognormal(3, 0.5)),
    Law("lognormal 14 s (sigma 1)", lognormal(14, 1)),
    Law("lognormal 10 s (sigma 1.5)", lognormal(10, 1.5)),
    Law("lognormal 600 s (sigma 0.5)", lognormal(600, 0.5)),
    Law("Weibull 0.6, 20 s", weibull(0.6, 20)),
    Law("Weibull 3, 45 s", weibull(3, 45)),
    Law("exponential, mean 5 min", exponential(300)),
    Law("exponential 4 s after 8 s", exponential(4, start=8)),
    Law("bimodal 1 s (50 %), 60 s", either(0.5, normal(1, 0.1), normal(60, 3))),
    Law("exactly 1 s (80 %) or 60 s", either(0.8, constant(1), constant(60))),
    Law(
        "2 s (60 %), 15 s (30 %), 2 min",
        either(0.6, normal(2, 0.2), either(0.75, normal(15, 1), normal(120, 10))),
    ),
    Law("heavy tail (Pareto 1.1)", pareto(1.1, 5)),
    Law("step: 5 s, was 20 s 30 ago", lognormal(5, 0.3), factor=lambda age: 4 if age >= 30 else 1),
    Law("drift down: 30 → 10 s", normal(10, 1), factor=lambda age: 3 ** (age / PAST)),
    Law("cold start: 10 past, exponential", exponential(10), past=10),
    Law("sub-second: exponential 0.5 s", exponential(0.5)),
]
HELD_OUT = [replace(law, held_out=True) for law in HELD_OUT]
