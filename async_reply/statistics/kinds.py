"""Reads counts and histograms of finished operations by kind, from the rows of `KindStatistics`.

No function reads operations, so each takes the same time however many there are. The figures are
as old as the last roll-up: half a minute while a worker lives.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from async_reply.database.clock import as_stored
from async_reply.models import KindStatistics
from async_reply.statistics.histograms import Histogram
from async_reply.status import FINAL, Status

Span = KindStatistics.Span

LENGTHS = {
    Span.MINUTE: timedelta(minutes=1),
    Span.TEN_MINUTES: timedelta(minutes=10),
    Span.HOUR: timedelta(hours=1),
    Span.DAY: timedelta(days=1),
}
#: Older rows are deleted. A reader gets the first span that is kept as long as it asks for.
KEPT = {
    Span.MINUTE: timedelta(hours=2),
    Span.TEN_MINUTES: timedelta(days=1),
    Span.HOUR: timedelta(days=8),
    Span.DAY: timedelta(days=400),
}

#: The columns that count outcomes have the names of the final statuses.
OUTCOMES = tuple(status.value for status in Status if status in FINAL)
COLUMNS = (
    *OUTCOMES,
    "retries",
    "losses",
    "wait_seconds",
    "run_seconds",
    "waits",
    "runs",
)
Columns = tuple[Any, ...]


@dataclass
class Figures:
    """Counts and histograms of operations that finished in some time.

    `waits` and `runs` hold the last attempts of operations that succeeded or failed.
    """

    succeeded: int = 0
    failed: int = 0
    canceled: int = 0
    retries: int = 0
    losses: int = 0
    wait_seconds: float = 0.0
    run_seconds: float = 0.0
    waits: Histogram = field(default_factory=Histogram)
    runs: Histogram = field(default_factory=Histogram)

    @property
    def finished(self) -> int:
        return self.succeeded + self.failed + self.canceled

    @property
    def failure_rate(self) -> float | None:
        """The share of failed operations among those that ran to their end; None without such."""
        ended = self.succeeded + self.failed
        return self.failed / ended if ended else None

    def add(self, columns: Columns) -> None:
        """Add the `COLUMNS` of a row."""
        succeeded, failed, canceled, retries, losses, wait_seconds, run_seconds = columns[:7]
        self.succeeded += succeeded
        self.failed += failed
        self.canceled += canceled
        self.retries += retries
        self.losses += losses
        self.wait_seconds += wait_seconds
        self.run_seconds += run_seconds
        for histogram, counts in zip((self.waits, self.runs), columns[7:], strict=True):
            for number, count in counts.items():  # JSON has the numbers of bins as text
                histogram[int(number)] += count


def sum_of(parts: Iterable[Figures]) -> Figures:
    """The figures of several kinds or times together."""
    total = Figures()
    for figures in parts:
        total.add(tuple(getattr(figures, name) for name in COLUMNS))
    return total


class Row(NamedTuple):
    """The columns of a row that figures need. A model instance takes several times as long."""

    kind: str
    start: datetime
    columns: Columns


def read(rows: Any) -> Iterator[Row]:
    """The rows of a queryset."""
    for kind, start, *columns in rows.values_list("kind", "start", *COLUMNS):
        yield Row(kind, as_utc(start), tuple(columns))


@dataclass
class Point:
    """The figures of one step of a plot."""

    start: datetime
    seconds: float
    figures: Figures = field(default_factory=Figures)

    @property
    def throughput(self) -> float:
        """Finished operations in a second."""
        return self.figures.finished / self.seconds


def totals(over: timedelta) -> dict[str, Figures]:
    """The figures of each kind over the last minutes, hours or days, until now."""
    span = span_for(over)
    return _by_kind(read(_rows(span, floor(_now() - over, LENGTHS[span]))))


def ever() -> dict[str, Figures]:
    """The figures of each kind since the first migration. They never shrink."""
    rows = list(read(KindStatistics.objects.filter(span=Span.EVER)))
    days = KindStatistics.objects.filter(span=Span.DAY)
    if rows:  # all of them begin on one day
        days = days.filter(start__gte=as_stored(rows[0].start))
    return _by_kind([*rows, *read(days)])


def series(over: timedelta, *, kind: str | None = None, points: int = 60) -> list[Point]:
    """The figures over the last minutes, hours or days, oldest first, in at most so many steps.

    All steps have the same length, a whole number of minutes, hours or days. The last one is not
    over yet. A step in which nothing finished has a point, too.
    """
    steps = _Steps(over, points)
    rows = steps.rows() if kind is None else steps.rows().filter(kind=kind)
    return steps.points(read(rows))


def series_by_kind(over: timedelta, *, points: int = 60) -> dict[str, list[Point]]:
    """`series` of each kind of which an operation finished in this time, by one query."""
    steps = _Steps(over, points)
    rows: dict[str, list[Row]] = {}
    for row in read(steps.rows()):
        rows.setdefault(row.kind, []).append(row)
    return {kind: steps.points(of_kind) for kind, of_kind in rows.items()}


def span_for(over: timedelta) -> Any:
    """The shortest span whose rows are kept for so long."""
    return next((span for span, kept in KEPT.items() if over <= kept), Span.DAY)


def floor(moment: datetime, step: timedelta) -> datetime:
    """The begin of the step that holds the moment. Steps are counted from 1970, in UTC."""
    seconds = step.total_seconds()
    return datetime.fromtimestamp(moment.timestamp() // seconds * seconds, UTC)


def as_utc(moment: datetime) -> datetime:
    """A time that Django has read, aware and in UTC. Without USE_TZ it is naive."""
    return datetime.fromtimestamp(moment.timestamp(), UTC)


class _Steps:
    """The steps of a plot, which ends now."""

    def __init__(self, over: timedelta, points: int) -> None:
        now, self.span = _now(), span_for(over)
        length = LENGTHS[self.span]
        # One step may begin before the time, and one ends after now.
        self.step = length * max(1, -(-over // (length * max(1, points - 1))))
        self.start = floor(now - over, self.step)
        self.count = int((now - self.start) // self.step) + 1

    def rows(self) -> Any:
        return _rows(self.span, self.start)

    def points(self, rows: Iterable[Row]) -> list[Point]:
        seconds = self.step.total_seconds()
        points = [Point(self.start + self.step * index, seconds) for index in range(self.count)]
        first = self.start.timestamp()
        for row in rows:
            index = int((row.start.timestamp() - first) // seconds)
            if index < self.count:  # another clock may be ahead of this one
                points[index].figures.add(row.columns)
        return points


def _rows(span: Any, start: datetime) -> Any:
    return KindStatistics.objects.filter(span=span, start__gte=as_stored(start))


def _by_kind(rows: Iterable[Row]) -> dict[str, Figures]:
    figures: dict[str, Figures] = {}
    for row in rows:
        figures.setdefault(row.kind, Figures()).add(row.columns)
    return figures


def _now() -> datetime:
    return datetime.now(UTC)
