"""Measures the cost of polling: `python -m benchmarks.polling [--write] [--plot]`.

It compares strategies of clients for many laws of durations, with few samples, and in queues. It
needs no server: all of it is computed.
"""

import argparse
import math
import random
import time
from collections.abc import Sequence
from functools import partial
from statistics import NormalDist, mean

from async_reply.estimates import plans
from async_reply.estimates.plans import price
from benchmarks.laws import HELD_OUT, LAWS, Law, exponential, lognormal
from benchmarks.queues import CASES, compare
from benchmarks.schedules import RetryAfter, best, ratios
from benchmarks.tables import DOCS, replace, table

PLOT = DOCS / "polling.png"

DRAWS = 20
OPERATIONS = 1000
STRATEGIES = ("computed", "jittered", "1 s", "5 s", "30 s", "doubling")
KNOWN_SIGMA = 0.5

Result = tuple[Law, dict[str, float]]


def compare_laws() -> list[Result]:
    measure = partial(ratios, retry_after=plans.retry_after, draws=DRAWS, operations=OPERATIONS)
    return [(law, measure(law)) for law in [*LAWS, *HELD_OUT]]


def law_rows(results: Sequence[Result]) -> list[list[str]]:
    rows = [["law", *STRATEGIES]]
    for held_out in (False, True):
        part = [(law, costs) for law, costs in results if law.held_out is held_out]
        rows += [[law.name, *(f"{costs[name]:.2f}" for name in STRATEGIES)] for law, costs in part]
        label = "held out" if held_out else "above"
        for kind, summary in (("geometric mean", _geometric), ("worst", max)):
            columns = ([costs[name] for _, costs in part] for name in STRATEGIES)
            rows.append([f"**{kind}, {label}**", *(f"{summary(costs):.2f}" for costs in columns)])
    return rows


def _geometric(values: Sequence[float]) -> float:
    return math.exp(mean(map(math.log, values)))


class Exponential:
    """The law of the next duration after a history of an exponential law (a Lomax law)."""

    def __init__(self, past: Sequence[float]) -> None:
        self.count, self.total = len(past), sum(past)
        self.median = self.total * (2 ** (1 / self.count) - 1)

    def at(self, moment: float) -> tuple[float, float]:
        ratio = 1 + moment / self.total
        left = ratio**-self.count
        if self.count == 1:
            area = self.total * math.log(ratio)
        else:
            area = self.total / (self.count - 1) * (1 - left * ratio)
        return 1 - left, area - moment * left


class Lognormal:
    """The law of the next duration after a history of a lognormal law of known width."""

    def __init__(self, past: Sequence[float]) -> None:
        self.middle = mean(map(math.log, past))
        self.sigma = KNOWN_SIGMA * math.sqrt(1 + 1 / len(past))
        self.median = math.exp(self.middle)

    def at(self, moment: float) -> tuple[float, float]:
        if moment <= 0:
            return 0.0, 0.0
        score = (math.log(moment) - self.middle) / self.sigma
        whole = self.median * math.exp(self.sigma**2 / 2)
        standard = NormalDist()
        return standard.cdf(score), whole * standard.cdf(score - self.sigma)


def informed(family: type[Exponential] | type[Lognormal]) -> RetryAfter:
    """The plan of an estimator that knows the family of the law, but not its one parameter."""
    schedules: dict[tuple[float, ...], list[float]] = {}

    def retry_after(past: Sequence[float], elapsed: float) -> int:
        history = tuple(past)
        if history not in schedules:
            law = family(past)
            schedules[history] = best(law, cost=price(law.median), end=law.median * 60 + 20)
        later = (moment for moment in schedules[history] if moment > elapsed)
        return int(next(later, elapsed + max(1, elapsed // 4)) - elapsed)

    return retry_after


def sample_rows() -> list[list[str]]:
    """The cost of a short history: a plan that knows the family of laws, and ours."""
    families = (
        ("exponential", exponential(10), informed(Exponential)),
        ("lognormal (sigma 0.5)", lognormal(10, KNOWN_SIGMA), informed(Lognormal)),
    )
    counts = (1, 3, 5, 10, 30, 100)
    rows = [["past operations", *map(str, counts)]]
    for name, quantile, informed_plan in families:
        for label, retry_after in (("family known", informed_plan), ("ours", plans.retry_after)):
            costs = [
                ratios(Law(name, quantile, past=past), retry_after, draws=60, operations=300)
                for past in counts
            ]
            rows.append([f"{name}, {label}", *(f"{cost['computed']:.2f}" for cost in costs)])
    return rows


def queue_rows() -> list[list[str]]:
    rows = [["queue, strategy", "polls", "late, s", "polls, ± 30 %", "late, s, ± 30 %"]]
    for case in CASES:
        rows += [
            [f"{case.name}: {name}", *(f"{figure:.2f}" for figure in figures)]
            for name, figures in compare(case)
        ]
    return rows


def speed_rows() -> list[list[str]]:
    """The processor time of a call. The docs quote ratios only, so they leave it out."""
    rows = [["law", "new history, µs", "known history, µs"]]
    for law in LAWS:
        chance = random.Random(1)
        pasts = [law.history(chance) for _ in range(50)]
        plans.plan.cache_clear()
        cold = _mean_microseconds([(past, 0) for past in pasts])
        warm = _mean_microseconds([(pasts[-1], index % 20) for index in range(1000)])
        rows.append([law.name, f"{cold:.0f}", f"{warm:.1f}"])
    return rows


def _mean_microseconds(calls: Sequence[tuple[Sequence[float], float]]) -> float:
    """The processor time of one call, in microseconds."""
    started = time.process_time()
    for past, elapsed in calls:
        plans.retry_after(past, elapsed)
    return (time.process_time() - started) / len(calls) * 1e6


def plot(results: Sequence[Result]) -> None:
    """Draw the cost for each law. It needs matplotlib."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 9), layout="constrained")
    names = [law.name for law, _ in results]
    for strategy, marker in zip(STRATEGIES, "o.xx+s", strict=True):
        axes.scatter(
            [costs[strategy] for _, costs in results], names, marker=marker, label=strategy
        )
    axes.set(xscale="log", xlabel="cost, as a multiple of the best schedule for the true law")
    axes.axvline(1.25, linestyle=":", color="grey")
    axes.invert_yaxis()
    axes.grid(axis="y", alpha=0.3)
    axes.legend()
    figure.savefig(PLOT, dpi=80, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/polling.rst")
    parser.add_argument("--plot", action="store_true", help="draw docs/polling.png (matplotlib)")
    options = parser.parse_args()
    results = compare_laws()
    parts = {"laws": law_rows(results), "samples": sample_rows(), "queues": queue_rows()}
    for rows in [*parts.values(), speed_rows()]:
        width = max(len(row[0]) for row in rows)
        for first, *cells in rows:
            print(first.ljust(width), *(cell.rjust(10) for cell in cells))
        print()
    if options.write:
        for name, rows in parts.items():
            replace(DOCS / "polling.rst", name, table(rows))
    if options.plot:
        plot(results)


if __name__ == "__main__":
    main()
