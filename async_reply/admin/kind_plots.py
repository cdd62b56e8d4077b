"""Draws what finished over a span: throughput, failure rate, and quantiles of wait and run time."""

from collections.abc import Callable, Iterable, Sequence

from django.utils.translation import gettext as _

from async_reply.admin import plots, quantities
from async_reply.admin.plots import Axis, Plot, Series
from async_reply.statistics import kinds
from async_reply.statistics.histograms import SHORTEST_SECONDS, Histogram
from async_reply.statistics.kinds import Figures, Point
from async_reply.status import FINAL, Status

#: The name of a quantile, and the share of durations that it does not exceed.
QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
#: From the bottom of a bar to its top.
OUTCOMES = tuple(status for status in Status if status in FINAL)


def quantiles(durations: Histogram) -> list[float | None]:
    """The seconds of each of `QUANTILES`."""
    return [durations.quantile(share) for _name, share in QUANTILES]


def of_all(by_kind: Iterable[Sequence[Point]], axis: Axis) -> list[Plot]:
    """The throughput and the failure rate of these kinds together."""
    steps = [
        kinds.sum_of(point.figures for point in points) for points in zip(*by_kind, strict=True)
    ]
    outcomes = [
        Series(status, status.label, [getattr(figures, status) for figures in steps])
        for status in OUTCOMES
    ]
    rates = [_percent(figures.failure_rate) for figures in steps]
    return [
        plots.stacked(_("Finished operations"), outcomes, axis=axis, format=_count),
        plots.lines(
            _("Failure rate"),
            [Series(Status.FAILED, Status.FAILED.label, rates)],
            axis=axis,
            scale=plots.linear(rates),
            format=quantities.format_percent,
        ),
    ]


def of_kind(points: Sequence[Point], axis: Axis) -> list[Plot]:
    """The quantiles of wait and of run time."""
    return [
        _durations(_("Wait"), points, axis, lambda figures: figures.waits),
        _durations(_("Run time"), points, axis, lambda figures: figures.runs),
    ]


def _durations(
    title: str, points: Sequence[Point], axis: Axis, durations: Callable[[Figures], Histogram]
) -> Plot:
    by_step = [quantiles(durations(point.figures)) for point in points]
    series = [
        Series(name, name, values)
        for (name, _share), values in zip(QUANTILES, zip(*by_step, strict=True), strict=True)
    ]
    everything = [value for values in by_step for value in values]
    return plots.lines(
        title,
        series,
        axis=axis,
        scale=plots.logarithmic(everything, least=SHORTEST_SECONDS),
        format=quantities.format_seconds,
        tick_format=quantities.format_power,
    )


def _percent(rate: float | None) -> float | None:
    return None if rate is None else 100 * rate


def _count(number: float) -> str:
    return quantities.format_count(round(number))
