"""Computes the cost of polling schedules, for `python -m benchmarks.polling`.

It also finds the best schedule for a law that is known exactly.
"""

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


class Sums(Protocol):
    """A law by its sums: the same method as `async_reply.estimates.laws.Law.at`."""

    def at(self, moment: float) -> tuple[float, float]: ...


class Exact:
    """The sums of a law whose quantiles are known.

    The cells have the same weight, except in the last hundredth, where they become smaller.
    """

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


def best(law: Sums, *, cost: float, end: float) -> list[float]:
    """The schedule in whole seconds that costs least under `law`, up to the second `end`."""
    step = max(1, int(cost / 20))
    moments = [0]
    while moments[-1] < end:
        last = moments[-1]
        moments.append(last + max(step, last // 200 if last > 200 else 1))
    finished, spent = zip(*(law.at(moment) for moment in moments), strict=True)
    following = solve(moments, list(finished), list(spent), cost=cost, rest=0)
    schedule: list[float] = []
    index = 0
    while index < len(moments) - 1:
        index = following[index]
        schedule.append(moments[index])
    return schedule


def optimum(law: Law) -> tuple[list[float], float]:
    """The best schedule for the true law, and the cost of one poll under this law."""
    exact = Exact(law)
    cost = price(exact.median)
    return best(exact, cost=cost, end=exact.values[-1] * 1.3 + 2), cost


def every(seconds: int) -> Iterator[float]:
    return count(seconds, seconds)


def doubling() -> Iterator[float]:
    """Polls 1 s after the submit, 2 s later, 4 s later …"""
    return accumulate(2.0**index for index in range(60))


def computed(retry_after: RetryAfter, past: Sequence[float]) -> Iterator[float]:
    """The polls of a client that obeys Retry-After."""
    elapsed = 0.0
    while True:
        elapsed += retry_after(past, elapsed)
        yield elapsed


def extend(schedule: list[float]) -> Iterator[float]:
    """The polls of `schedule`, and further polls at growing intervals after its end."""
    yield from schedule
    last = schedule[-1]
    while True:
        last = math.ceil(last * 1.2)
        yield last


def cost_of(polls: Iterator[float], durations: Sequence[float], *, cost: float) -> float:
    """The mean of: `cost` for each poll, plus the seconds from the end to the poll that sees it."""
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
    """The same for clients whose Retry-After is a little longer than the plan says."""
    plan = plans.plan(tuple(past))
    total = 0.0
    for seed, duration in enumerate(durations):
        elapsed = 0
        while elapsed < duration - 1e-9:
            # Stands for the random bits of an operation's id.
            share = seed * 0x9E3779B97F4A7C15 % 2**62
            elapsed += plans.jitter(plan.wait(elapsed), plans.width(past), share)
            total += cost
        total += elapsed - duration
    return total / len(durations)


def ratios(
    law: Law, retry_after: RetryAfter, *, draws: int, operations: int, seed: int = 1
) -> dict[str, float]:
    """Strategy -> its cost divided by the cost of the optimum, over the same durations."""
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
        costs = {name: cost_of(polls, durations, cost=cost) for name, polls in strategies.items()}
        costs["jittered"] = cost_with_jitter(past, durations, cost=cost)
        for name, value in costs.items():
            totals[name] = totals.get(name, 0.0) + value
    return {name: total / totals["optimum"] for name, total in totals.items()}
