"""When to look whether something has ended, at the least cost: pure sums, without Django."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from math import ceil, floor, sqrt

from async_reply.estimates.laws import Law

# Seconds of waiting that one poll is worth.
CHEAPEST_POLL = 0.25
SHARE_OF_MEDIAN = 0.05


def price(median: float) -> float:
    """What a poll costs, in seconds of waiting, for operations that take `median` seconds."""
    return max(CHEAPEST_POLL, SHARE_OF_MEDIAN * median)


def after_all(elapsed: float, cost: float, power: float) -> float:
    """The wait where P(T > t) falls as t ** -power, so that the hazard is power / t.

    For a hazard that changes slowly the best wait is sqrt(2 * cost / hazard).
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
    """The best next poll after each of the `moments`, as an index of them; the last has none.

    `finished` and `spent` are the law at the moments, as `Law.at` has them; `rest` is what is
    still to be paid after the last. Minimises polls * cost + the time between the end and the
    poll that sees it (Barlow, Hunter and Proschan, "Optimum checking procedures", 1963).
    """
    last = len(moments) - 1
    following = [last] * (last + 1)
    # With J(s) for what is paid after a poll at s, times the probability of getting there, the
    # best next poll after t minimises J(s) + s * F(s) - M(s) - s * F(t). The levels hold all of
    # it but the last term.
    levels = [0.0] * last + [rest + moments[last] * finished[last] - spent[last]]
    for index in range(last - 1, -1, -1):
        known = finished[index]
        level, following[index] = min(
            (levels[later] - moments[later] * known, later) for later in range(index + 1, last + 1)
        )
        levels[index] = cost * (1 - known) + level + moments[index] * known
    return following


class Plan:
    """When to poll an operation whose duration follows `law`."""

    def __init__(self, law: Law) -> None:
        self.law = law
        self.cost = price(law.median)
        self.moments = _moments(law, self.cost)
        known = [law.at(moment) for moment in self.moments]
        finished = [each[0] for each in known]
        spent = [each[1] for each in known]
        tail = 2 * after_all(self.moments[-1], self.cost, law.tail.power)
        self.following = solve(
            self.moments,
            finished,
            spent,
            cost=self.cost,
            rest=(1 - finished[-1]) * (self.cost + tail),
        )

    def wait(self, elapsed: float) -> int:
        """Whole seconds >= 1 from `elapsed` seconds after the submit until the next poll."""
        if elapsed >= self.moments[-2]:
            return max(1, round(after_all(elapsed, self.cost, self.law.tail.power)))
        index = bisect_right(self.moments, elapsed) - 1
        return max(1, ceil(self.moments[self.following[index]] - elapsed - 1e-6))

    def remaining(self, elapsed: float) -> float:
        """Seconds that half of the operations still take which are not done after `elapsed`."""
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
    """Whole seconds worth a look: the closer together, the cheaper a poll is."""
    end = 2 * ceil(law.edges[-1]) + 8
    step = max(1, int(cost / 4))
    near = min(end, 30 * step)
    found = set(range(0, near, step))
    moment = near
    while moment < end:
        found.add(moment)
        moment += max(step, moment // 25)
    found.add(end)
    return sorted(found)


@lru_cache(maxsize=512)
def plan(durations: tuple[float, ...]) -> Plan:
    """The plan for operations that took `durations` seconds, oldest first; at least one.

    Made in well under a millisecond, and found again by comparing the numbers.
    """
    return Plan(Law(durations))


def retry_after(durations: Sequence[float], elapsed: float) -> int:
    """Whole seconds >= 1 until the next poll.

    `durations` are the seconds from submit to end of past operations of the kind, oldest first,
    up to a few hundred; `elapsed` are those since this one was submitted. Minimises polls times
    their price plus the time that a client learns of the end too late. The price of a poll is
    5 % of the median duration, at least 0.25 s.
    """
    elapsed = max(0.0, elapsed)
    if durations:
        return plan(tuple(durations)).wait(elapsed)
    return max(1, round(after_all(elapsed, price(elapsed), 1)))


def eta(durations: Sequence[float], elapsed: float) -> float | None:
    """Seconds that half of those still take which last longer than `elapsed`; None: unknown."""
    return plan(tuple(durations)).remaining(max(0.0, elapsed)) if durations else None


# How much of the expected time in the queue passes before a pending operation is asked about:
# those ahead may be quicker than thought, and the next answer knows more.
SHARE_OF_QUEUE = 0.7


# What a client is kept longer at most so that not all come at once, in prices of a poll.
JITTER = 0.25


# What is added to it for an operation in the queue, as a share of the time until it starts.
JITTER_IN_QUEUE = 0.05


# How the durations scatter of which nothing is known but what they are expected to be.
EXPECTED_SPREAD = (1.0, 0.6, 1.6)


def blend(durations: Sequence[float], expected: float | None) -> tuple[float, ...]:
    """`durations` preceded by what is `expected` of the kind, until nine tell more about it."""
    if expected is None:
        return tuple(durations)
    believed = EXPECTED_SPREAD[: max(0, 3 - len(durations) // 3)]
    return (*(expected * each for each in believed), *durations)


def by_progress(elapsed: float, progress: int) -> float:
    """Seconds until the end when `progress` percent, above 0, took `elapsed` seconds."""
    return elapsed * (100 - progress) / progress


def weigh(estimate: float, own: float, progress: int) -> float:
    """Between what the kind tells and the operation's own progress: the further it got, the more
    counts the latter."""
    return own * progress / 100 + estimate * (100 - progress) / 100


def in_queue(ahead: float, *, mean: float, workers: int) -> float:
    """Seconds until an operation starts that has `ahead` before it, of `mean` seconds each.

    All of the `workers` are busy, and one of them half through on average.
    """
    return (ahead + 0.5) * mean / max(1, workers)


def retry_after_in_queue(durations: Sequence[float], queued: float) -> int:
    """Whole seconds >= 1 until the next poll of an operation that starts in `queued` seconds.

    `durations` are seconds from start to end.
    """
    return max(1, floor(SHARE_OF_QUEUE * queued + retry_after(durations, 0)))


def width(durations: Sequence[float]) -> float:
    """Seconds over which those who are told the same are spread: a part of a poll's price."""
    return JITTER * (plan(tuple(durations)).cost if durations else price(0))


def jitter(wait: int, width: float, seed: int) -> int:
    """`wait` or up to `width` seconds more, the same for a `seed` and evenly spread over many.

    One second stays one: clients who come each second come to different parts of it.
    """
    if wait == 1:
        return wait
    share, rounding = seed % 9973 / 9973, seed // 9973 % 9967 / 9967
    return wait + floor(width * share + rounding)
