"""Estimates the distribution of a duration from past durations. Pure: it needs no Django."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log, sqrt

#: Shorter durations count as equal, because a client gets whole seconds.
SHORTEST_SECONDS = 0.01
LONGEST_SECONDS = 1e9

#: A trend counts when it explains the ranks of the durations this much better, as a chi-squared
#: statistic. With this value one history in two hundred without a trend is taken for a drift.
TREND_CHI_SQUARED = 10.0
FEWEST_FOR_DRIFT = 12


@dataclass(frozen=True)
class Tail:
    """The law of durations that were never seen yet, around a `median`.

    Above the median P(T > t) = (median / t) ** power / 2. Below the median the law is uniform.
    """

    median: float
    power: float

    @classmethod
    def of(cls, ordered: Sequence[float], median: float) -> "Tail":
        """The tail that fits these durations.

        The fit counts two durations more above the median, which pull the power towards two.
        """
        above = sum(log(seconds / median) for seconds in ordered if seconds > median)
        return cls(median, power=(len(ordered) / 2 + 2) / (above + 1))

    def at(self, moment: float) -> tuple[float, float]:
        """P(T <= moment), and the mean of T where it is at most `moment` and 0 elsewhere."""
        middle, power = self.median, self.power
        if moment <= middle:
            return moment / middle / 2, moment * moment / middle / 4
        left = (middle / moment) ** power
        if abs(power - 1) < 1e-6:
            above = middle * log(moment / middle)
        else:
            above = power / (power - 1) * (middle - moment * left)
        return 1 - left / 2, middle / 4 + above / 2


class Law:
    """The law of a duration, estimated from past durations: at least one, oldest first.

    Each duration becomes an interval around it. The interval reaches to a neighbour some ranks
    away, on the nearer side. So equal durations stay a point, which a poll can meet exactly, and
    scattered durations become a smooth density. A small share of the law is a `Tail`; this share
    shrinks with the number of durations.
    """

    def __init__(self, durations: Sequence[float]) -> None:
        bounded = [min(max(seconds, 0.0), LONGEST_SECONDS) for seconds in durations]
        current = without_drift(bounded)
        self.ordered = sorted(current)
        self.median = _median(self.ordered)
        self.mean = sum(current) / len(current)
        self.tail = Tail.of(self.ordered, max(self.median, SHORTEST_SECONDS))
        count = len(self.ordered)
        #: The share of `tail`: 0.7 after one duration, 0.25 after five, 0.003 after a hundred.
        self.tail_share = 3 / (count + 3) * 10 / (count + 10)
        self._spread()

    def _spread(self) -> None:
        """Compute the edges of the intervals, and the sums and the density at each edge."""
        weight = (1 - self.tail_share) / len(self.ordered)
        changes: list[tuple[float, float, float]] = []
        for middle, radius in zip(self.ordered, _radii(self.ordered), strict=True):
            if radius < 1e-6:
                changes.append((middle, weight, 0.0))
                continue
            low, high = max(0.0, middle - radius), middle + radius
            density = weight / (high - low)
            changes.append((low, 0.0, density))
            changes.append((high, 0.0, -density))
        changes.sort()
        self.edges: list[float] = []
        self._sums: list[tuple[float, float, float]] = []
        last = finished = spent = density = 0.0
        for moment, jump, change in changes:
            finished += density * (moment - last) + jump
            spent += density * (moment * moment - last * last) / 2 + jump * moment
            density += change
            last = moment
            self.edges.append(moment)
            self._sums.append((finished, spent, density))
        # After the last edge the density is zero. A rounding error left in it would grow with time.
        self._sums[-1] = (finished, spent, 0.0)

    def at(self, moment: float) -> tuple[float, float]:
        """P(T <= moment), and the mean of T where it is at most `moment` and 0 elsewhere."""
        finished, spent = self.tail.at(moment) if moment > 0 else (0.0, 0.0)
        finished, spent = finished * self.tail_share, spent * self.tail_share
        index = bisect_right(self.edges, moment) - 1
        if index >= 0:
            edge = self.edges[index]
            before, mean, density = self._sums[index]
            finished += before + density * (moment - edge)
            spent += mean + density * (moment * moment - edge * edge) / 2
        return min(finished, 1.0), spent


def without_drift(durations: Sequence[float]) -> Sequence[float]:
    """The durations as they would be today, oldest first.

    When the durations follow a trend, each duration is multiplied by the change since then. The
    test for a trend uses ranks, so that a few extreme durations in a row are no trend.
    """
    count = len(durations)
    if count < FEWEST_FOR_DRIFT:
        return durations
    ranks = _centred_ranks(durations)
    noise = sum(rank * rank for rank in ranks)
    if not noise:
        return durations
    middle, squares = (count - 1) / 2, count * (count * count - 1) / 12
    product = sum((index - middle) * rank for index, rank in enumerate(ranks))
    unexplained = max(noise - product * product / squares, noise * 1e-9)
    if count * log(noise / unexplained) < TREND_CHI_SQUARED:
        return durations
    logs = [log(max(seconds, SHORTEST_SECONDS)) for seconds in durations]
    slope = sum((index - middle) * value for index, value in enumerate(logs)) / squares
    return [seconds * exp(slope * (count - 1 - index)) for index, seconds in enumerate(durations)]


def _centred_ranks(durations: Sequence[float]) -> list[float]:
    """The rank of each duration minus the mean rank; equal durations have equal ranks."""
    ordered = sorted(durations)
    middle = len(ordered) / 2
    return [
        (bisect_left(ordered, seconds) + bisect_right(ordered, seconds)) / 2 - middle
        for seconds in durations
    ]


def _median(ordered: Sequence[float]) -> float:
    """The mean of the durations that may be the median.

    Between two clusters of durations the median alone would jump from one to the other.
    """
    count = len(ordered)
    outer = max(0, round((count - 1 - sqrt(count)) / 2))
    central = ordered[outer : count - outer]
    return sum(central) / len(central)


def _radii(ordered: Sequence[float]) -> list[float]:
    """Half the width of each duration's interval, in seconds.

    More ranks would blur the law, fewer would leave noise in it. At most five times the distance
    of a nearer neighbour: this keeps an interval from reaching into the next cluster.
    """
    root = sqrt(len(ordered))
    far, near = max(1, round(1.5 * root)), max(1, round(0.5 * root))
    wide, narrow = _distances(ordered, far), _distances(ordered, near)
    return [
        min(distant, 5 * close) if distant < inf else (close if close < inf else 0.0)
        for distant, close in zip(wide, narrow, strict=True)
    ]


def _distances(ordered: Sequence[float], ranks: int) -> list[float]:
    """The distance from each duration to its neighbour `ranks` away, on the nearer side.

    Infinite for a duration that has no such neighbour.
    """
    gaps = [high - low for low, high in zip(ordered, ordered[ranks:], strict=False)]
    padding = [inf] * min(ranks, len(ordered))
    return list(map(min, [*padding, *gaps], [*gaps, *padding]))
