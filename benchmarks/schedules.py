"""Polling schedules, what they cost, and the best one for a known law."""

import math
import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, count
from typing import Protocol

from async_reply.estimates import plans
from async_reply.estimates.plans import price, solve
from benchmarks.laws import Law

RetryAfter = Callable[[Sequence[float], float], int]

CELLS = 20_000


class Known(Protocol):
    """A law by its sums, as `async_reply.estimates.laws.Law.at` gives them."""

    def at(self, moment: float) -> tuple[float, float]: ...


class Exact:
    """A law by its quantiles: even cells, and ever smaller ones in the last hundredth."""

    def __init__(self, law: Law) -> None:
        shares = [(index + 0.5) / CELLS for index in range(CELLS * 99 // 100)]
        weights = [1 / CELLS] * len(shares)
        left, ratio = 0.01, 0.985
        while left > 1e-9:
            shares.append(1 - left * (1 + ratio) / 2)
            weights.append(left * (1 - ratio))
            left *= ratio
        cells = sorted(zip(map(law.quantile, shares), weights, strict=True))
        self.values = [value for value, _ in cells]
        self.finished = list(accumulate((weight for _, weight in cells), initial=0.0))
        self.spent = list(accumulate((value * weight for value, weight in cells), initial=0.0))
        self.median = law.quantile(0.5)

    def at(self, moment: float) -> tuple[float, float]:
        index = bisect_right(self.values, moment)
        return self.finished[index], self.spent[index]


def best(law: Known, *, cost: float, end: float) -> list[float]:
    """The whole-second schedule that costs least under `law`, looked for up to `end`."""
    step = max(1, int(cost / 20))
    moments = [0]
    while moments[-1] < end:
        last = moments[-1]
        moments.append(last + max(step, last // 200 if last > 200 else 1))
    known = [law.at(moment) for moment in moments]
    following = solve(
        moments, [each[0] for each in known], [each[1] for each in known], cost=cost, rest=0
    )
    schedule: list[float] = []
    index = 0
    while index < len(moments) - 1:
        index = following[index]
        schedule.append(moments[index])
    return schedule


def optimum(law: Law) -> tuple[list[float], float]:
    """The best schedule for the true law, and what a poll costs under it."""
    exact = Exact(law)
    cost = price(exact.median)
    return best(exact, cost=cost, end=exact.values[-1] * 1.3 + 2), cost


def every(seconds: int) -> Iterator[float]:
    return count(seconds, seconds)


def doubling() -> Iterator[float]:
    """1 s after the submit, 2 s later, 4 s later …"""
    return accumulate(2.0**index for index in range(60))


def computed(retry_after: RetryAfter, past: Sequence[float]) -> Iterator[float]:
    """The polls of a client that does what it is told."""
    elapsed = 0.0
    while True:
        elapsed += retry_after(past, elapsed)
        yield elapsed


def extend(schedule: list[float]) -> Iterator[float]:
    """`schedule`, and polls ever further apart where it ends."""
    yield from schedule
    last = schedule[-1]
    while True:
        last = math.ceil(last * 1.2)
        yield last


def cost_of(polls: Iterator[float], durations: Sequence[float], *, cost: float) -> float:
    """Mean of polls times `cost` plus the seconds between the end and the poll that sees it."""
    ordered = sorted(durations)
    schedule = []
    for moment in polls:
        schedule.append(moment)
        if moment >= ordered[-1]:
            break
    total = 0.0
    for duration in ordered:
        index = bisect_left(schedule, duration - 1e-9)
        total += (index + 1) * cost + schedule[index] - duration
    return total / len(ordered)


def cost_with_jitter(past: Sequence[float], durations: Sequence[float], *, cost: float) -> float:
    """The same for clients that are each told a little more than the plan says."""
    plan = plans.plan(tuple(past))
    total = 0.0
    for seed, duration in enumerate(durations):
        elapsed = 0
        while elapsed < duration - 1e-9:
            # What an operation's id has for random bits.
            share = seed * 0x9E3779B97F4A7C15 % 2**62
            elapsed += plans.jitter(plan.wait(elapsed), plans.width(past), share)
            total += cost
        total += elapsed - duration
    return total / len(durations)


def ratios(
    law: Law, retry_after: RetryAfter, *, draws: int, operations: int, seed: int = 1
) -> dict[str, float]:
    """Strategy -> its cost divided by that of the optimum, all over the same durations."""
    schedule, cost = optimum(law)
    totals: dict[str, float] = {}
    for draw in range(draws):
        chance = random.Random(f"{seed} {law.name} {draw}")
        past = law.history(chance)
        durations = [law.draw(chance) for _ in range(operations)]
        strategies = {
            "optimum": extend(schedule),
            "computed": computed(retry_after, past),
            "1 s": every(1),
            "5 s": every(5),
            "30 s": every(30),
            "doubling": doubling(),
        }
        costs = {name: cost_of(each, durations, cost=cost) for name, each in strategies.items()}
        costs["jittered"] = cost_with_jitter(past, durations, cost=cost)
        for name, each in costs.items():
            totals[name] = totals.get(name, 0.0) + each
    return {name: total / totals["optimum"] for name, total in totals.items()}
