"""Counts durations by logarithmic bins. Pure: it needs no Django.

Four bins make a doubling, so a quantile is right to about a tenth. Bin 0 begins at one second.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from math import floor, log2
from typing import Self

BINS_PER_DOUBLING = 4
#: A shorter duration counts as this one.
SHORTEST_SECONDS = 0.001


def bin_of(seconds: float) -> int:
    """The number of the bin that holds the duration."""
    return floor(log2(max(seconds, SHORTEST_SECONDS)) * BINS_PER_DOUBLING)


def lower_bound(number: int) -> float:
    """The seconds at which a bin begins. It ends where the next one begins."""
    return float(2.0 ** (number / BINS_PER_DOUBLING))


class Histogram(Counter[int]):
    """The number of durations in each bin."""

    @classmethod
    def of(cls, durations: Iterable[float]) -> Self:
        return cls(map(bin_of, durations))

    @classmethod
    def from_json(cls, counts: Mapping[str, int]) -> Self:
        """The histogram of a row. JSON has the numbers of bins as text."""
        return cls({int(number): count for number, count in counts.items()})

    def to_json(self) -> dict[str, int]:
        return {str(number): self[number] for number in sorted(self)}

    def quantile(self, share: float) -> float | None:
        """Seconds that this share of the durations does not exceed; None without durations.

        Inside a bin the durations count as spread evenly over its doubling.
        """
        total = self.total()
        if not total:
            return None
        rank, before = share * total, 0
        for number in sorted(+self):
            if before + self[number] >= rank:
                break
            before += self[number]
        inside = (rank - before) / self[number]
        return lower_bound(number) * float(2 ** (inside / BINS_PER_DOUBLING))

    def cumulative(self, bounds: Iterable[int]) -> list[int]:
        """How many durations are below the begin of each of these bins, which grow."""
        counts: list[int] = []
        numbers = sorted(self, reverse=True)
        below = 0
        for bound in bounds:
            while numbers and numbers[-1] < bound:
                below += self[numbers.pop()]
            counts.append(below)
        return counts
