"""What past durations say about the next one: pure sums, without Django."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log, sqrt

# Durations below this are alike: a client is told whole seconds.
SHORTEST = 0.01
LONGEST = 1e9

# Durations that many ranks apart, and no further than this share of themselves, are a cluster.
CLOSE = 0.1

# A drift is believed when it explains the ranks of the durations so much better, in units of a
# chi-squared statistic: one history in two hundred seems to drift and does not.
TREND_CHANCE = 10.0
STEP_CHANCE = 16.0
FEWEST_FOR_DRIFT = 12
FEWEST_AFTER_STEP = 8


@dataclass(frozen=True)
class Tails:
    """A law around `median` whose two halves are powers: what is believed outside the samples.

    P(T > t) = (median / t) ** upper / 2 above the median, P(T <= t) = (t / median) ** lower / 2
    below it.
    """

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, ordered: Sequence[float], median: float) -> "Tails":
        """Fitted, and drawn towards powers of two as if by two durations more on each side."""
        above = sum(log(each / median) for each in ordered if each > median)
        below = sum(log(median / max(each, SHORTEST)) for each in ordered if each < median)
        share = len(ordered) / 2 + 2
        return cls(median, lower=share / (below + 1), upper=share / (above + 1))

    def at(self, moment: float) -> tuple[float, float]:
        """P(T <= moment), and the mean of T where it is at most `moment` and 0 elsewhere."""
        middle, lower, upper = self.median, self.lower, self.upper
        if moment <= middle:
            finished = (moment / middle) ** lower / 2
            return finished, finished * moment * lower / (lower + 1)
        left = (middle / moment) ** upper
        spent = middle * lower / (lower + 1) / 2
        if abs(upper - 1) < 1e-6:
            spent += middle * log(moment / middle) / 2
        else:
            spent += middle * upper / (upper - 1) * (1 - moment / middle * left) / 2
        return 1 - left / 2, spent


class Law:
    """The law of a duration, estimated from past ones.

    Each stands for the interval around it, up to a neighbour some ranks away on its nearer side:
    equal durations stay a point, so that a poll can meet them exactly, and scattered ones become
    a smooth density. A small share goes to `Tails`, the less the more is known. Takes at least
    one duration, oldest first.
    """

    def __init__(self, durations: Sequence[float]) -> None:
        current = without_drift([min(max(each, 0.0), LONGEST) for each in durations])
        self.ordered = sorted(current)
        self.median = _median(self.ordered)
        self.mean = sum(current) / len(current)
        self.tails = Tails.of(self.ordered, max(self.median, SHORTEST))
        count = len(self.ordered)
        #: The share of `tails`: 0.7 of one duration, 0.25 of five, 0.003 of a hundred.
        self.doubt = 3 / (count + 3) * 10 / (count + 10)
        self._spread()

    def _spread(self) -> None:
        """Lay out the edges of the intervals, and density and sums between them."""
        weight = (1 - self.doubt) / len(self.ordered)
        changes: list[tuple[float, float, float]] = []
        #: Ends of what lies close together: moments a poll may be meant to meet exactly.
        self.landmarks: list[float] = []
        for middle, radius in zip(self.ordered, _radii(self.ordered), strict=True):
            if radius < CLOSE * middle:
                self.landmarks.append(middle + radius)
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
        finished, spent = self.tails.at(moment) if moment > 0 else (0.0, 0.0)
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

    Where a trend explains them, each is multiplied by what has changed since; where a step does,
    only those after it are kept. Both are judged by ranks: a few far ones in a row are no drift.
    """
    count = len(durations)
    if count < FEWEST_FOR_DRIFT:
        return durations
    ranks = _centred_ranks(durations)
    noise = sum(each * each for each in ranks)
    if not noise:
        return durations
    middle, squares = (count - 1) / 2, count * (count * count - 1) / 12
    product = sum((index - middle) * each for index, each in enumerate(ranks))
    explained, start = _best_step(ranks)
    trend = _gain(noise, product * product / squares, count) - TREND_CHANCE
    step = _gain(noise, explained, count) - STEP_CHANCE
    if max(trend, step) <= 0:
        return durations
    if step > trend:
        return durations[start:]
    logs = [log(max(each, SHORTEST)) for each in durations]
    slope = sum((index - middle) * each for index, each in enumerate(logs)) / squares
    return [each * exp(slope * (count - 1 - index)) for index, each in enumerate(durations)]


def _gain(noise: float, explained: float, count: int) -> float:
    return count * log(noise / max(noise - explained, noise * 1e-9))


def _centred_ranks(durations: Sequence[float]) -> list[float]:
    """Ranks less their mean; equal durations share theirs."""
    ordered = sorted(durations)
    middle = len(ordered) / 2
    return [
        (bisect_left(ordered, each) + bisect_right(ordered, each)) / 2 - middle
        for each in durations
    ]


def _best_step(ranks: Sequence[float]) -> tuple[float, int]:
    """Where splitting the centred `ranks` in two explains most of their squares, and how much."""
    count = len(ranks)
    best, start, total = 0.0, 0, 0.0
    for index, each in enumerate(ranks[:-FEWEST_AFTER_STEP], start=1):
        total += each
        explained = total * total * count / (index * (count - index))
        if explained > best:
            best, start = explained, index
    return best, start


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
