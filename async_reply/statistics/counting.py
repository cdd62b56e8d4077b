"""Counts finished operations by kind. Each statement reads its rows by an index over the kind."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from math import log
from typing import Any

from django.db.models import Count, ExpressionWrapper, F, FloatField, Min, Sum, Value
from django.db.models.functions import Floor, Greatest, Ln

from async_reply.database.clock import as_stored, microseconds
from async_reply.models import Operation
from async_reply.statistics.histograms import BINS_PER_DOUBLING, SHORTEST_SECONDS
from async_reply.statistics.kinds import LENGTHS, Figures, as_utc
from async_reply.status import DELETABLE, Status

BINS_PER_E = BINS_PER_DOUBLING / log(2)

#: Figures by kind and start.
Counted = dict[tuple[str, datetime], Figures]


def kinds() -> Iterator[str]:
    """The kinds of all operations. Each is found by one look into the index on kinds."""
    names = Operation.objects.order_by("kind").values_list("kind", flat=True)
    kind = names.first()
    while kind is not None:
        yield kind
        kind = names.filter(kind__gt=kind).first()


def first_finished(names: Iterable[str], since: datetime | None) -> datetime | None:
    """When the first operation finished, at `since` or later."""
    finished = Operation.objects.filter(finished_at__isnull=False)
    if since is not None:
        finished = finished.filter(finished_at__gte=as_stored(since))
    times = [finished.filter(kind=kind).aggregate(at=Min("finished_at"))["at"] for kind in names]
    return min((as_utc(time) for time in times if time is not None), default=None)


def count(names: Iterable[str], span: Any, start: datetime, end: datetime) -> Counted:
    """The figures of these kinds from `start` to `end`, for each minute, hour or day."""
    counted: Counted = {}
    for group in _grouped(names, span, start, end):
        at = start + int(group["step"]) * LENGTHS[span]
        _add_group(counted.setdefault((group["kind"], at), Figures()), group)
    return counted


def _grouped(names: Iterable[str], span: Any, start: datetime, end: datetime) -> Any:
    """Operations, counted by kind, step, status and the bins of wait and run."""
    finished = Operation.objects.filter(
        kind__in=list(names), finished_at__gte=as_stored(start), finished_at__lt=as_stored(end)
    )
    since_start = microseconds(F("finished_at") - Value(as_stored(start)))
    wait = microseconds(F("started_at") - F("available_at"))
    run = microseconds(F("finished_at") - F("started_at"))
    rows = finished.annotate(
        step=Floor(_seconds(since_start) / LENGTHS[span].total_seconds()),
        wait_bin=_bin(wait),
        run_bin=_bin(run),
    )
    return (
        rows.order_by()
        .values("kind", "step", "status", "wait_bin", "run_bin")
        .annotate(
            count=Count("id"),
            # A kind that no worker knows fails without an attempt.
            started=Count("started_at"),
            all_retries=Sum("total_retries"),
            all_losses=Sum("total_losses"),
            waited=Sum(wait),
            ran=Sum(run),
        )
    )


def _seconds(number: Any) -> Any:
    return ExpressionWrapper(number * 1e-6, output_field=FloatField())


def _bin(number: Any) -> Any:
    """The bin of so many microseconds, as `histograms.bin_of` computes it."""
    seconds = Greatest(_seconds(number), Value(SHORTEST_SECONDS, output_field=FloatField()))
    return Floor(Ln(seconds) * BINS_PER_E)


def _add_group(figures: Figures, group: Any) -> None:
    status = Status(group["status"])
    setattr(figures, status, getattr(figures, status) + group["count"])
    figures.retries += group["all_retries"]
    figures.losses += group["all_losses"]
    if status in DELETABLE and group["started"]:
        figures.wait_seconds += group["waited"] / 1e6
        figures.run_seconds += group["ran"] / 1e6
        figures.waits[int(group["wait_bin"])] += group["started"]
        figures.runs[int(group["run_bin"])] += group["started"]
