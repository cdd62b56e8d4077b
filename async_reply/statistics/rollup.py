"""Counts finished operations into the rows of `KindStatistics`, for maintenance.

A turn counts the last minutes whole from the operations, adds minutes up to hours and hours up to
days, and deletes old rows. A row is only ever replaced by one that counts more operations. So a
turn may be repeated, workers may have a turn at the same time, and a purge takes nothing away.
After an outage a turn goes on where the last one ended.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connections, transaction

from async_reply.database import alias
from async_reply.database.clock import as_stored
from async_reply.models import KindStatistics
from async_reply.statistics import counting
from async_reply.statistics.counting import Counted
from async_reply.statistics.kinds import (
    COLUMNS,
    KEPT,
    LENGTHS,
    OUTCOMES,
    Figures,
    Span,
    as_utc,
    floor,
    read,
)

#: Minutes are counted again for this time, since a transaction may commit after its `finished_at`.
LATE = timedelta(minutes=3)
#: The most steps of one turn. A step counts up to an hour, or up to a day that is long past.
STEPS = 24

#: The span that a row is added up to, and from which the rows of a longer one are deleted.
LONGER = {
    Span.MINUTE: Span.TEN_MINUTES,
    Span.TEN_MINUTES: Span.HOUR,
    Span.HOUR: Span.DAY,
}


def roll_up(now: datetime | None = None) -> bool:
    """Count what has finished since the last turn. False: the next turn has to go on at once."""
    now, kinds = now or datetime.now(UTC), list(counting.kinds())
    since, is_done = _counted_until(now), False
    for _ in range(STEPS):
        # A look at each kind finds the next operation after a gap. Most turns need no look.
        is_recent = since is not None and since > now - LENGTHS[Span.HOUR]
        first = since if is_recent else counting.first_finished(kinds, since)
        if first is not None:
            span = _span_of(first, now)
            start, since = _step(first, span, now)
            _count(kinds, span, start, since)
        if is_done := first is None or (since is not None and since > now):
            break
    settled = floor(_counted_until(now) or now, LENGTHS[Span.DAY])
    _add_to_ever(settled)
    _delete_old(now, settled)
    return is_done


def _counted_until(now: datetime) -> datetime | None:
    """The time from which operations are to be counted; None if none was counted yet."""
    rows = KindStatistics.objects.order_by("-start").values_list("start", flat=True)
    starts = [start for span in Span.values if (start := rows.filter(span=span).first())]
    return min(now, max(map(as_utc, starts))) - LATE if starts else None


def _span_of(moment: datetime, now: datetime) -> Any:
    """The shortest span whose rows of that time are still kept."""
    return next((span for span in LONGER if moment >= _kept_from(span, now)), Span.DAY)


def _kept_from(span: Any, now: datetime) -> datetime:
    """The start of the oldest row that is kept: the first of a whole hour, or of a whole day."""
    return floor(now - KEPT[span], LENGTHS[LONGER.get(span, span)])


def _step(first: datetime, span: Any, now: datetime) -> tuple[datetime, datetime]:
    """The start and the end of the time that one step counts. It holds rows of one span only."""
    step = LENGTHS[Span.HOUR if span == Span.MINUTE else Span.DAY]
    ends = [_kept_from(shorter, now) for shorter, longer in LONGER.items() if longer == span]
    return floor(first, LENGTHS[span]), min([floor(first, step) + step, *ends])


def _count(kinds: list[str], span: Any, start: datetime, end: datetime) -> None:
    """Count the operations that finished in a time, and add the rows up to longer spans."""
    counted = counting.count(kinds, span, start, end)
    with transaction.atomic(using=alias()):
        _store(span, counted)
        while span in LONGER:
            counted = _added_up(span, start, end)
            span = LONGER[span]
            _store(span, counted)


def _added_up(span: Any, start: datetime, end: datetime) -> Counted:
    """The rows of all longer spans that the time touches, from all of their shorter rows."""
    longer = LENGTHS[LONGER[span]]
    first, last = floor(start, longer), floor(end - timedelta(microseconds=1), longer)
    added: Counted = {}
    for row in read(_between(span, first, last + longer)):
        key = row.kind, floor(row.start, longer)
        added.setdefault(key, Figures()).add(row.columns)
    return added


def _store(span: Any, counted: Counted) -> None:
    """Write the rows that are new, or that count more operations than the row that exists."""
    if not counted:
        return
    starts = [start for _, start in counted]
    written = _between(span, min(starts), max(starts) + LENGTHS[span])
    existing = {
        (kind, as_utc(start)): sum(counts)
        for kind, start, *counts in written.values_list("kind", "start", *OUTCOMES)
    }
    rows = [
        _row(kind, span, start, figures)
        for (kind, start), figures in sorted(counted.items(), key=lambda item: item[0])
        if figures.finished > existing.get((kind, start), 0)
    ]
    features: Any = connections[alias()].features
    has_target = features.supports_update_conflicts_with_target
    KindStatistics.objects.bulk_create(
        rows,
        update_conflicts=True,
        update_fields=COLUMNS,
        unique_fields=("span", "start", "kind") if has_target else None,
        batch_size=500,
    )


def _row(kind: str, span: Any, start: datetime, figures: Figures) -> KindStatistics:
    columns = {name: getattr(figures, name) for name in COLUMNS}
    columns |= {"waits": figures.waits.to_json(), "runs": figures.runs.to_json()}
    return KindStatistics(kind=kind, span=span, start=as_stored(start), **columns)


def _between(span: Any, start: datetime, end: datetime) -> Any:
    bounds = {"start__gte": as_stored(start), "start__lt": as_stored(end)}
    return KindStatistics.objects.filter(span=span, **bounds)


def _add_to_ever(settled: datetime) -> None:
    """Add the days before `settled`, which no turn counts again, to the counts of all time.

    The lock on the first day has two workers do this one after the other.
    """
    with transaction.atomic(using=alias()):
        days = KindStatistics.objects.filter(span=Span.DAY).order_by("start", "kind")
        first_day = days.select_for_update().first()
        if first_day is None:
            return
        ever = KindStatistics.objects.filter(span=Span.EVER)
        rows = list(read(ever))
        since = rows[0].start if rows else as_utc(first_day.start)
        if settled <= since:
            return
        sums: dict[str, Figures] = {}
        for row in [*rows, *read(_between(Span.DAY, since, settled))]:
            sums.setdefault(row.kind, Figures()).add(row.columns)
        ever.delete()
        KindStatistics.objects.bulk_create(
            [_row(kind, Span.EVER, settled, figures) for kind, figures in sorted(sums.items())]
        )


def _delete_old(now: datetime, settled: datetime) -> None:
    """Delete rows that are no longer kept. A day stays until it is added to all time."""
    for span in LENGTHS:
        end = _kept_from(span, now)
        end = min(end, settled) if span == Span.DAY else end
        KindStatistics.objects.filter(span=span, start__lt=as_stored(end)).delete()
