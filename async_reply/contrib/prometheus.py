"""Tells Prometheus how many operations finished, wait and run, and for how long.

Needs the extra `prometheus`. All figures come from the database, so each web process tells the
same, and no process has to be asked for its own counters. Counters and histograms are those of
`statistics.kinds.ever`: about half a minute old, and they never shrink.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from django.http import HttpResponse
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from rest_framework.permissions import IsAdminUser
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request

from async_reply.protocol import headers
from async_reply.statistics import backlog, kinds
from async_reply.statistics.histograms import BINS_PER_DOUBLING, Histogram, lower_bound
from async_reply.statistics.kinds import OUTCOMES, Figures
from async_reply.views.base import ProblemsMixin

#: The bins at which buckets end: 1/16 of a second, then four times as long each, up to 18 hours.
#: Buckets take most of the time of a scrape.
BOUNDS = tuple(range(-4 * BINS_PER_DOUBLING, 17 * BINS_PER_DOUBLING, 2 * BINS_PER_DOUBLING))
BUCKETS = (*(str(lower_bound(bound)) for bound in BOUNDS), "+Inf")


class OperationCollector(Collector):
    """Reads the figures at each scrape, by six statements.

    A project with metrics of its own registers it with its registry: prometheus_client's
    `REGISTRY.register(OperationCollector())`.
    """

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not ask the database."""
        return ()

    def collect(self) -> Iterator[Metric]:
        yield from _finished(kinds.ever())
        state = backlog.read()
        yield from _queues(state)
        yield GaugeMetricFamily("async_reply_workers", "Living workers.", value=state.workers)
        yield from _unpublished(backlog.unpublished())
        yield GaugeMetricFamily(
            "async_reply_idle_operations",
            "Operations that were released three times in a row and got no further.",
            value=state.idle,
        )


class MetricsView(ProblemsMixin):
    """The metrics as text, for staff. A project sets `permission_classes` as it wants.

    No URL of ours leads to it.
    """

    permission_classes: Any = (IsAdminUser,)
    schema: Any = None
    collector: Collector = OperationCollector()

    def perform_content_negotiation(
        self, request: Request, force: bool = False
    ) -> tuple[BaseRenderer, str]:
        """Takes any Accept: Prometheus asks for media types that have no renderer."""
        return JSONRenderer(), JSONRenderer.media_type

    def get(self, request: Request) -> HttpResponse:
        registry = CollectorRegistry()
        registry.register(self.collector)
        encode, content_type = choose_encoder(request.headers.get(headers.ACCEPT, ""))
        return HttpResponse(
            encode(registry),
            content_type=content_type,
            headers={headers.CACHE_CONTROL: headers.PRIVATE},
        )


def _finished(by_kind: dict[str, Figures]) -> Iterator[Metric]:
    operations = CounterMetricFamily(
        "async_reply_operations", "Operations that finished.", labels=("kind", "outcome")
    )
    retries = CounterMetricFamily(
        "async_reply_retries", "Attempts that were repeated after an error.", labels=("kind",)
    )
    losses = CounterMetricFamily(
        "async_reply_lost_attempts",
        "Attempts whose process or worker was lost. Counted when the operation finishes.",
        labels=("kind",),
    )
    waits = HistogramMetricFamily(
        "async_reply_wait_seconds",
        "Seconds that operations were due before their last attempt began.",
        labels=("kind",),
    )
    runs = HistogramMetricFamily(
        "async_reply_run_seconds", "Seconds that last attempts ran.", labels=("kind",)
    )
    for kind, figures in sorted(by_kind.items()):
        for outcome in OUTCOMES:
            operations.add_metric((kind, outcome), getattr(figures, outcome))
        retries.add_metric((kind,), figures.retries)
        losses.add_metric((kind,), figures.losses)
        waits.add_metric((kind,), _buckets(figures.waits), figures.wait_seconds)
        runs.add_metric((kind,), _buckets(figures.runs), figures.run_seconds)
    yield from (operations, retries, losses, waits, runs)


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    counts = [*histogram.cumulative(BOUNDS), histogram.total()]
    return [(bound, float(count)) for bound, count in zip(BUCKETS, counts, strict=True)]


def _queues(state: backlog.Backlog) -> Iterator[Metric]:
    labels = ("queue",)
    waiting = GaugeMetricFamily(
        "async_reply_waiting_operations",
        f"Operations that are due and wait for a worker; {backlog.ROWS_COUNTED} are counted.",
        labels=labels,
    )
    oldest = GaugeMetricFamily(
        "async_reply_oldest_waiting_seconds",
        "Seconds for which the oldest waiting operation has been due.",
        labels=labels,
    )
    running = GaugeMetricFamily(
        "async_reply_running_operations", "Operations that an attempt holds.", labels=labels
    )
    capacity = GaugeMetricFamily(
        "async_reply_capacity",
        "Jobs that the living workers of the queue can run at once. 0: no worker reads it.",
        labels=labels,
    )
    for name, queue in state.queues.items():
        waiting.add_metric((name,), queue.waiting)
        oldest.add_metric((name,), queue.oldest_seconds)
        running.add_metric((name,), queue.running)
        capacity.add_metric((name,), queue.capacity)
    yield from (waiting, oldest, running, capacity)


def _unpublished(state: backlog.Unpublished) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "async_reply_unpublished_operations",
        "Operations that are due and whose message is not sent.",
        value=state.count,
    )
    yield GaugeMetricFamily(
        "async_reply_oldest_unpublished_seconds",
        "Seconds for which the oldest of them has been due.",
        value=state.oldest_seconds,
    )
