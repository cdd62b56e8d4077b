"""Computes when to poll an operation, so that polls and the delay after its end cost least.

Forecasts call these functions for each answer. They are pure: no Django, no database.
"""

from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property, lru_cache
from math import ceil, floor, sqrt

from async_reply.estimates.laws import Law

#: The price of a poll in seconds of waiting: this share of the median, but at least so many.
PRICE_SHARE_OF_MEDIAN = 0.05
LOWEST_PRICE_SECONDS = 0.25

#: The part of the expected time in the queue after which a pending operation is polled. The
#: operations ahead may end sooner than expected, and the next answer knows more.
SHARE_OF_QUEUE = 0.7

#: Clients with equal estimates are spread over this part of a poll's price, in seconds.
JITTER = 0.25
#: Clients of pending operations are spread over this share of the time in the queue besides.
JITTER_IN_QUEUE = 0.05

#: Durations that stand for a kind before it has any of its own, in units of `expected_duration`.
EXPECTED_SPREAD = (1.0, 0.6, 1.6)


def price(median: float) -> float:
    """The price of a poll, in seconds of waiting, for operations that take `median` seconds."""
    return max(LOWEST_PRICE_SECONDS, PRICE_SHARE_OF_MEDIAN * median)


def wait_after_longest(elapsed: float, cost: float, power: float) -> float:
    """Seconds until the next poll of an operation that takes longer than all durations seen.

    There P(T > t) falls as t ** -power, so the hazard is power / t. The best wait for a hazard
    that changes slowly is sqrt(2 * cost / hazard).
    """
    return sqrt(2 * cost * elapsed / power)


def solve(
    moments: Sequence[float],
    finished: Sequence[float],
    spent: Sequence[float],
    *,
    cost: float,
    rest: float,
) -> list[int]:
    """The best next poll after each of the `moments`, as an index of `moments`.

    `finished` and `spent` are the values of `Law.at` at the moments. `rest` is the cost after the
    last moment. Minimises polls * cost + the time between the end and the poll that sees the end
    (Barlow, Hunter and Proschan, "Optimum checking procedures", 1963). The last index means
    nothing.
    """
    last = len(moments) - 1
    following = [last] * (last + 1)
    # Let J(s) be the cost after a poll at s, times the probability that the operation still runs
    # then. The best next poll s after t minimises J(s) + s * F(s) - M(s) - s * F(t). The levels
    # hold the first three terms, which do not depend on t.
    levels = [0.0] * last + [rest + moments[last] * finished[last] - spent[last]]
    for index in range(last - 1, -1, -1):
        share = finished[index]
        level, following[index] = min(
            (levels[later] - moments[later] * share, later) for later in range(index + 1, last + 1)
        )
        levels[index] = cost * (1 - share) + level + moments[index] * share
    return following


class Plan:
    """When to poll an operation whose duration follows `law`."""

    def __init__(self, law: Law) -> None:
        self.law = law
        self.cost = price(law.median)
        self.moments = _moments(law, self.cost)
        values = [law.at(moment) for moment in self.moments]
        finished = [value[0] for value in values]
        spent = [value[1] for value in values]
        tail = 2 * wait_after_longest(self.moments[-1], self.cost, law.tail.power)
        self.following = solve(
            self.moments,
            finished,
            spent,
            cost=self.cost,
            rest=(1 - finished[-1]) * (self.cost + tail),
        )

    def wait(self, elapsed: float) -> int:
        """Whole seconds >= 1 from `elapsed` seconds after the start until the next poll."""
        if elapsed >= self.moments[-2]:
            return max(1, round(wait_after_longest(elapsed, self.cost, self.law.tail.power)))
        index = bisect_right(self.moments, elapsed) - 1
        return max(1, ceil(self.moments[self.following[index]] - elapsed - 1e-6))

    def remaining(self, elapsed: float) -> float:
        """The median of the seconds left for operations that still run after `elapsed` seconds."""
        return self._whole if elapsed == 0 else self._remaining(elapsed)

    @cached_property
    def _whole(self) -> float:
        """The median of all seconds, which each poll of a pending operation needs."""
        return self._remaining(0.0)

    def _remaining(self, elapsed: float) -> float:
        finished, _ = self.law.at(elapsed)
        target = (1 + finished) / 2
        low, high = elapsed, max(2 * elapsed, self.law.median, 0.1)
        while self.law.at(high)[0] < target and high < 1e12:
            low, high = high, 2 * high
        for _ in range(20):
            middle = (low + high) / 2
            if self.law.at(middle)[0] < target:
                low = middle
            else:
                high = middle
        return high - elapsed


def _moments(law: Law, cost: float) -> list[int]:
    """The seconds after the start at which a poll may be planned.

    Moments are close together when a poll is cheap, and further apart later.
    """
    end = 2 * ceil(law.edges[-1]) + 8
    step = max(1, int(cost / 4))
    near = min(end, 30 * step)
    moments = list(range(0, near, step))
    moment = near
    while moment < end:
        moments.append(moment)
        moment += max(step, moment // 25)
    return [*moments, end]


@lru_cache(maxsize=512)
def plan(durations: tuple[float, ...]) -> Plan:
    """The plan for operations that took `durations` seconds, oldest first; at least one.

    A new plan takes well under a millisecond. The cache compares all durations.
    """
    return Plan(Law(durations))


def retry_after(durations: Sequence[float], elapsed: float) -> int:
    """Whole seconds >= 1 until the next poll.

    `durations` are the seconds that past operations of the kind took, oldest first, up to a few
    hundred. `elapsed` are the seconds that this operation has taken so far. Minimises the number
    of polls times their price, plus the time from the end until the client learns of it. The
    price of a poll is 5 % of the median duration, at least 0.25 s.
    """
    elapsed = max(0.0, elapsed)
    if durations:
        return plan(tuple(durations)).wait(elapsed)
    return max(1, round(wait_after_longest(elapsed, price(elapsed), 1)))


def eta(durations: Sequence[float], elapsed: float) -> float | None:
    """Seconds until the end, with fractions; None without any `durations`.

    The median over past operations that took longer than `elapsed` seconds; `durations` as for
    `retry_after`.
    """
    return plan(tuple(durations)).remaining(max(0.0, elapsed)) if durations else None


def blend(durations: Sequence[float], expected: float | None) -> tuple[float, ...]:
    """`durations`, after up to three that stand for the kind's `expected` duration.

    Each three real durations replace one of the expected ones, so that nine replace all.
    """
    if expected is None:
        return tuple(durations)
    factors = EXPECTED_SPREAD[: max(0, 3 - len(durations) // 3)]
    return (*(expected * factor for factor in factors), *durations)


def by_progress(elapsed: float, progress: int) -> float:
    """Seconds until the end when `progress` percent, above 0, took `elapsed` seconds."""
    return elapsed * (100 - progress) / progress


def weigh(estimate: float, own: float, progress: int) -> float:
    """The mean of the kind's `estimate` and the operation's `own`, weighted by `progress` percent.

    The further the operation got, the more its own progress counts.
    """
    return own * progress / 100 + estimate * (100 - progress) / 100


def in_queue(ahead: float, *, mean: float, workers: int) -> float:
    """Seconds until an operation starts that has `ahead` others before it, of `mean` seconds each.

    All `workers` are busy. On average the next one to be free has half a job left.
    """
    return (ahead + 0.5) * mean / max(1, workers)


def retry_after_in_queue(durations: Sequence[float], queued: float) -> int:
    """Whole seconds >= 1 until the next poll of an operation that starts in `queued` seconds.

    `durations` are seconds from start to end.
    """
    return max(1, floor(SHARE_OF_QUEUE * queued + retry_after(durations, 0)))


def width(durations: Sequence[float]) -> float:
    """Seconds over which clients with equal estimates are spread: a part of a poll's price."""
    return JITTER * (plan(tuple(durations)).cost if durations else price(0))


def jitter(wait: int, width: float, seed: int) -> int:
    """`wait` plus up to `width` seconds: equal for equal seeds, evenly spread over many seeds.

    A wait of one second stays as it is, since clients come at different moments of a second.
    """
    if wait == 1:
        return wait
    share, rounding = seed % 9973 / 9973, seed // 9973 % 9967 / 9967
    return wait + floor(width * share + rounding)
