"""What past durations say about the next one: pure sums, without Django."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log, sqrt

# Durations below this are alike: a client is told whole seconds.
SHORTEST = 0.01
LONGEST = 1e9

# A trend is believed when it explains the ranks of the durations so much better, in units of a
# chi-squared statistic: one history in two hundred seems to drift and does not.
TREND_CHANCE = 10.0
FEWEST_FOR_DRIFT = 12


@dataclass(frozen=True)
class Tail:
    """What is believed where no samples are: a law around `median` that falls as a power above it.

    P(T > t) = (median / t) ** power / 2 above the median; below it half of all is spread evenly.
    """

    median: float
    power: float

    @classmethod
    def of(cls, ordered: Sequence[float], median: float) -> "Tail":
        """Fitted, and drawn towards a power of two as if by two durations more above the median."""
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
    """The law of a duration, estimated from past ones.

    Each stands for the interval around it, up to a neighbour some ranks away on its nearer side:
    equal durations stay a point, so that a poll can meet them exactly, and scattered ones become
    a smooth density. A small share goes to a `Tail`, the less the more is known. Takes at least
    one duration, oldest first.
    """

    def __init__(self, durations: Sequence[float]) -> None:
        current = without_drift([min(max(each, 0.0), LONGEST) for each in durations])
        self.ordered = sorted(current)
        self.median = _median(self.ordered)
        self.mean = sum(current) / len(current)
        self.tail = Tail.of(self.ordered, max(self.median, SHORTEST))
        count = len(self.ordered)
        #: The share of `tail`: 0.7 of one duration, 0.25 of five, 0.003 of a hundred.
        self.doubt = 3 / (count + 3) * 10 / (count + 10)
        self._spread()

    def _spread(self) -> None:
        """Lay out the edges of the intervals, and density and sums between them."""
        weight = (1 - self.doubt) / len(self.ordered)
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
        # What rounding left of the density would count for much where nothing ends it.
        self._sums[-1] = (finished, spent, 0.0)

    def at(self, moment: float) -> tuple[float, float]:
        """P(T <= moment), and the mean of T where it is at most `moment` and 0 elsewhere."""
        finished, spent = self.tail.at(moment) if moment > 0 else (0.0, 0.0)
        finished, spent = finished * self.doubt, spent * self.doubt
        index = bisect_right(self.edges, moment) - 1
        if index >= 0:
            edge = self.edges[index]
            before, mean, density = self._sums[index]
            finished += before + density * (moment - edge)
            spent += mean + density * (moment * moment - edge * edge) / 2
        return min(finished, 1.0), spent


def without_drift(durations: Sequence[float]) -> Sequence[float]:
    """The durations as if all were of today, oldest first.

    Where a trend explains them, each is multiplied by what has changed since. It is judged by
    ranks: a few far ones in a row are no drift.
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
    if count * log(noise / unexplained) < TREND_CHANCE:
        return durations
    logs = [log(max(seconds, SHORTEST)) for seconds in durations]
    slope = sum((index - middle) * each for index, each in enumerate(logs)) / squares
    return [seconds * exp(slope * (count - 1 - index)) for index, seconds in enumerate(durations)]


def _centred_ranks(durations: Sequence[float]) -> list[float]:
    """Ranks less their mean; equal durations share theirs."""
    ordered = sorted(durations)
    middle = len(ordered) / 2
    return [
        (bisect_left(ordered, each) + bisect_right(ordered, each)) / 2 - middle
        for each in durations
    ]


def _median(ordered: Sequence[float]) -> float:
    """The mean of the durations that may be the median: of two clusters it is hardly known."""
    count = len(ordered)
    aside = max(0, round((count - 1 - sqrt(count)) / 2))
    central = ordered[aside : count - aside]
    return sum(central) / len(central)


def _radii(ordered: Sequence[float]) -> list[float]:
    """How far to both sides each duration stands for its surroundings.

    The number of ranks is a compromise between noise and blur, and five times the distance of
    a nearer neighbour keeps what belongs to one cluster from reaching for another.
    """
    root = sqrt(len(ordered))
    far, near = max(1, round(1.5 * root)), max(1, round(0.5 * root))
    wide, narrow = _distances(ordered, far), _distances(ordered, near)
    return [
        min(one, 5 * other) if one < inf else (other if other < inf else 0.0)
        for one, other in zip(wide, narrow, strict=True)
    ]


def _distances(ordered: Sequence[float], ranks: int) -> list[float]:
    """From each to its neighbour `ranks` away, on the nearer side."""
    gaps = [high - low for low, high in zip(ordered, ordered[ranks:], strict=False)]
    padding = [inf] * min(ranks, len(ordered))
    return list(map(min, [*padding, *gaps], [*gaps, *padding]))
