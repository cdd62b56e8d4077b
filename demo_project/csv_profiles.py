"""Profiles a CSV file while it is read: the types, extremes and counts of its columns.

Values are taken as they are written. Spaces belong to a value. ``01`` is text, because identifiers
have leading zeros. ``NaN`` is text, and so is a number that exceeds a double. The module
`demo_project.csv_rows` describes the format of the file.

The memory is bounded for a file of any size. It holds one batch of rows, one sum for each column
and batch, and one hash for each distinct value: at most `DISTINCT_LIMIT` in a column and
`DISTINCT_TOTAL` in the file.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, TypeVar

from demo_project.csv_rows import CsvError, Readable, Table

__all__ = ["CsvError", "profile"]

DISTINCT_LIMIT = 100_000
DISTINCT_TOTAL = 1_000_000
SHOWN_CHARACTERS = 100

T = TypeVar("T", float, str)

# 18 digits fit in 64 bits; longer ones are numbers, with the precision of a double.
_INTEGER = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_BOOLEANS = {"true": True, "True": True, "TRUE": True}
_BOOLEANS |= {"false": False, "False": False, "FALSE": False}


def profile(
    stream: Readable, *, on_batch: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Read the binary stream to its end and return a JSON-able description of the table.

    The shape is ``{"rows", "columns": [{"name", "type", "count", "empty", "distinct",
    "distinct_more_than", "min", "max", "mean"}]}``. `type` is the narrowest of ``integer``,
    ``number``, ``date`` (YYYY-MM-DD) and ``boolean`` (true, false) that fits every non-empty
    value, else ``text``; a column without values is ``empty``. `count` cells have a value and
    `empty` cells have none. `distinct` counts the different values as they are written. If
    `distinct_more_than` is true, there are more than `distinct`, and counting has stopped.

    `min` and `max` have the type of the column: dates are ISO strings; text compares by code
    points. A text of more than 100 characters is cut there and ends with an ellipsis. `mean` is a
    number if the column is numeric and its sum fits in a double, else null. Columns keep their
    order, equal names stay equal, and a third column without a name is called ``column 3``.

    `on_batch` is called with the number of rows and bytes read so far: every 4,000 rows (sooner
    if the rows are long) and at the end. An exception of `on_batch` ends the reading. Raises
    `CsvError`.
    """
    table = Table(stream)
    columns = [_Column(name) for name in table.header]
    rows = 0
    for batch in table.batches():
        rows += len(batch)
        # strict=False: the transposition of no rows has no columns.
        for column, values in zip(columns, zip(*batch, strict=True), strict=False):
            column.add(values)
        _keep_within_total(columns)
        if on_batch:
            on_batch(rows, table.bytes_read)
    return {"rows": rows, "columns": [column.summary() for column in columns]}


@dataclass(slots=True)
class _Column:
    """The profile of a column up to the last batch."""

    name: str
    type: str = "empty"
    count: int = 0
    empty: int = 0
    # Python's hash has 64 bits and a secret key. Two of 100,000 values have the same hash in one
    # of 3 * 10^9 tables, and nobody can construct such a table.
    hashes: set[int] = field(default_factory=set)
    distinct_more_than: int | None = None
    numbers: tuple[float, float] | None = None
    texts: tuple[str, str] | None = None
    # The sum of integers is exact. Each batch of floats adds one term, correctly rounded.
    integer_sum: int = 0
    float_sums: list[float] = field(default_factory=list)

    def add(self, values: Sequence[str]) -> None:
        present = [value for value in values if value]
        self.empty += len(values) - len(present)
        self.count += len(present)
        if not present:
            return
        different = set(present)
        self._count_distinct(different)
        self._widen(different)
        # Numbers keep their texts too, because a later batch may turn the column into text. One
        # character more than shown says that a text was cut. The order of the cut texts is right.
        self.texts = _extremes(self.texts, _shortened(min(different)), _shortened(max(different)))
        if self.type == "integer":
            self._add_numbers(map(int, different))
            self.integer_sum += sum(map(int, present))
        elif self.type == "number":
            self._add_numbers(map(float, different))
            self.float_sums.append(_sum(map(float, present)))
        elif self.type == "boolean":
            self._add_numbers(map(_BOOLEANS.__getitem__, different))

    def stop_counting(self, *, more_than: int) -> None:
        self.distinct_more_than = more_than
        self.hashes = set()

    def summary(self) -> dict[str, Any]:
        more_than = self.distinct_more_than
        low, high = self._ends()
        return {
            "name": _shown(self.name),
            "type": self.type,
            "count": self.count,
            "empty": self.empty,
            "distinct": len(self.hashes) if more_than is None else more_than,
            "distinct_more_than": more_than is not None,
            "min": low,
            "max": high,
            "mean": self._mean(),
        }

    def _count_distinct(self, different: set[str]) -> None:
        if self.distinct_more_than is None:
            self.hashes.update(map(hash, different))
            if len(self.hashes) > DISTINCT_LIMIT:
                self.stop_counting(more_than=DISTINCT_LIMIT)

    def _widen(self, different: set[str]) -> None:
        candidates = (kind for kind in _WIDER[self.type] if _FITS[kind](different))
        self.type = next(candidates, "text")

    def _add_numbers(self, numbers: Iterable[float]) -> None:
        listed = list(numbers)
        self.numbers = _extremes(self.numbers, min(listed), max(listed))

    def _ends(self) -> tuple[Any, Any]:
        if self.type in _CONVERTERS and self.numbers:
            convert = _CONVERTERS[self.type]
            return convert(self.numbers[0]), convert(self.numbers[1])
        if self.texts:
            return _shown(self.texts[0]), _shown(self.texts[1])
        return None, None

    def _mean(self) -> float | None:
        if self.type == "integer":
            return self.integer_sum / self.count
        if self.type == "number":
            mean = _sum([self.integer_sum, *self.float_sums]) / self.count
            return mean if math.isfinite(mean) else None
        return None


def _keep_within_total(columns: list[_Column]) -> None:
    """Stop counting in the largest columns, until all hashes together are few enough."""
    while sum(len(column.hashes) for column in columns) > DISTINCT_TOTAL:
        fullest = max(columns, key=lambda column: len(column.hashes))
        fullest.stop_counting(more_than=len(fullest.hashes) - 1)


def _are_integers(texts: set[str]) -> bool:
    return all(map(_INTEGER.fullmatch, texts))


def _are_numbers(texts: set[str]) -> bool:
    return all(map(_NUMBER.fullmatch, texts)) and all(map(math.isfinite, map(float, texts)))


def _are_dates(texts: set[str]) -> bool:
    try:
        return all(map(_DATE.fullmatch, texts)) and all(map(date.fromisoformat, texts))
    except ValueError:
        return False


def _are_booleans(texts: set[str]) -> bool:
    return texts <= _BOOLEANS.keys()


_FITS: dict[str, Callable[[set[str]], bool]] = {
    "integer": _are_integers,
    "number": _are_numbers,
    "date": _are_dates,
    "boolean": _are_booleans,
}
# The types that a column may still get, the narrowest first. If no type fits, it is text.
_WIDER: dict[str, tuple[str, ...]] = {
    "empty": ("integer", "number", "date", "boolean"),
    "integer": ("integer", "number"),
    "number": ("number",),
    "date": ("date",),
    "boolean": ("boolean",),
    "text": (),
}
_CONVERTERS: dict[str, Callable[[float], float]] = {
    "integer": int,
    "number": float,
    "boolean": bool,
}


def _extremes(extremes: tuple[T, T] | None, low: T, high: T) -> tuple[T, T]:
    return (min(extremes[0], low), max(extremes[1], high)) if extremes else (low, high)


def _sum(numbers: Iterable[float]) -> float:
    try:
        return math.fsum(numbers)
    except OverflowError:
        return math.inf


def _shortened(text: str) -> str:
    return text[: SHOWN_CHARACTERS + 1]


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
