"""The figures of kinds over a span, for the dashboard: a table, rankings and plots.

They come from the rows of `KindStatistics` by one query, so they cost the same however many
operations there are.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.safestring import SafeString

from async_reply.admin import columns, kind_plots, quantities
from async_reply.admin.moments import format_duration
from async_reply.admin.plots import Axis, Plot
from async_reply.admin.quantities import linked
from async_reply.admin.spans import Span
from async_reply.statistics import kinds
from async_reply.statistics.kinds import Figures, Point
from async_reply.status import Status

#: The most steps of a plot.
MAX_STEPS = 49
#: The most kinds of the table, of a ranking, and with plots of their own.
MAX_KINDS = 100
MAX_RANKED = 5
MAX_PLOTTED = 6

#: Returns the URL of the list of operations with these filters.
ListLink = Callable[..., str]
#: Returns the URL of the dashboard for one kind.
KindLink = Callable[[str], str]


@dataclass(frozen=True)
class Kind:
    """The figures of a kind, or of several, as texts. Some are links to the list."""

    name: str
    label: SafeString | str
    finished: SafeString | str
    per_minute: str
    failed: SafeString | str
    failure_rate: str
    #: p50, p95 and p99.
    waits: list[str]
    runs: list[str]

    @property
    def p95_of_wait(self) -> str:
        return self.waits[1]

    @property
    def p95_of_run(self) -> str:
        return self.runs[1]


@dataclass(frozen=True)
class Report:
    """The figures of a span."""

    #: The length of a step of the plots.
    step: str
    total: Kind
    #: Those with most operations first.
    kinds: list[Kind]
    #: Whether there are more kinds than the table shows.
    is_cut: bool
    slowest: list[Kind]
    failing: list[Kind]
    plots: list[Plot]
    plots_of_kinds: list[tuple[Kind, list[Plot]]]
    #: The number of kinds without plots of their own.
    unplotted: int


def read(span: Span, *, kind: str, list_link: ListLink, kind_link: KindLink) -> Report:
    """The figures of all kinds, or of one kind if `kind` is not ''."""
    by_kind = kinds.series_by_kind(span.over, points=MAX_STEPS)
    if kind:
        by_kind = {kind: by_kind[kind]} if kind in by_kind else {}
    chosen = {"kind": kind} if kind else {}
    return _Reporter(span, by_kind, list_link, kind_link).report(chosen)


class _Reporter:
    """Writes a report from the points of each kind."""

    def __init__(
        self,
        span: Span,
        by_kind: dict[str, list[Point]],
        list_link: ListLink,
        kind_link: KindLink,
    ) -> None:
        self.span, self.by_kind = span, by_kind
        self.list_link, self.kind_link = list_link, kind_link
        sums = [
            (name, kinds.sum_of(point.figures for point in points))
            for name, points in by_kind.items()
        ]
        sums.sort(key=lambda item: (-item[1].finished, item[0]))
        self.figures = dict(sums)

    def report(self, chosen: dict[str, str]) -> Report:
        points = next(iter(self.by_kind.values()), [])
        rows = {name: self._kind(name, figures) for name, figures in self.figures.items()}
        names = list(rows)
        axis = Axis([point.start for point in points], self.span.label_of)
        plotted = names[:MAX_PLOTTED]
        return Report(
            step=format_duration(points[0].seconds) if points else "",
            total=self._row("", "", kinds.sum_of(self.figures.values()), chosen),
            kinds=[rows[name] for name in names[:MAX_KINDS]],
            is_cut=len(names) > MAX_KINDS,
            slowest=[rows[name] for name in self._ranked(_p95_of_run)],
            failing=[rows[name] for name in self._ranked(lambda figures: figures.failed)],
            plots=kind_plots.of_all(self.by_kind.values(), axis) if points else [],
            plots_of_kinds=[
                (rows[name], kind_plots.of_kind(self.by_kind[name], axis)) for name in plotted
            ],
            unplotted=len(names) - len(plotted),
        )

    def _kind(self, name: str, figures: Figures) -> Kind:
        label = linked(columns.dotted(name), self.kind_link(name))
        return self._row(name, label, figures, {"kind": name})

    def _row(self, name: str, label: str, figures: Figures, filters: dict[str, str]) -> Kind:
        ended = self.span.parameters
        is_linked = bool(ended)
        rate = figures.failure_rate
        failed = {**filters, **ended, "status": Status.FAILED.value}
        return Kind(
            name=name,
            label=label,
            finished=linked(
                quantities.format_count(figures.finished),
                self.list_link(**filters, **ended) if is_linked else "",
            ),
            per_minute=quantities.format_number(figures.finished / self._minutes()),
            failed=linked(
                quantities.format_count(figures.failed),
                self.list_link(**failed) if is_linked else "",
            ),
            failure_rate=quantities.format_percent(None if rate is None else 100 * rate),
            waits=_texts(kind_plots.quantiles(figures.waits)),
            runs=_texts(kind_plots.quantiles(figures.runs)),
        )

    def _minutes(self) -> float:
        """The length of the plots until now."""
        points = next(iter(self.by_kind.values()), [])
        seconds = time.time() - points[0].start.timestamp() if points else 0
        return max(1.0, seconds / 60)

    def _ranked(self, measure: Callable[[Figures], float]) -> list[str]:
        """The kinds with the greatest measure. A kind without any is left out."""
        measured = [(measure(figures), name) for name, figures in self.figures.items()]
        ranked = sorted((-value, name) for value, name in measured if value)
        return [name for _value, name in ranked[:MAX_RANKED]]


def _p95_of_run(figures: Figures) -> float:
    return figures.runs.quantile(0.95) or 0


def _texts(values: Sequence[Any]) -> list[str]:
    return [quantities.format_seconds(value) for value in values]
