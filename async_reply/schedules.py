"""When to look whether something has ended, at the least cost: pure sums, without Django."""

from bisect import bisect_right
from collections.abc import Sequence
from math import ceil, sqrt

from async_reply.durations import Law

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
