from datetime import UTC, datetime, timedelta

import pytest
from pytest_django import DjangoAssertNumQueries

from async_reply.database.clock import as_stored
from async_reply.models import KindStatistics
from async_reply.statistics import kinds
from async_reply.statistics.histograms import Histogram
from async_reply.statistics.kinds import Span

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 5, 4, 12, 30, 20, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "_now", lambda: NOW)


def row(span: str, start: datetime, *, kind: str = "a", **counts: int) -> None:
    waits = Histogram.of([1] * counts.get("succeeded", 0)).to_json()
    KindStatistics.objects.create(
        kind=kind, span=span, start=as_stored(start), waits=waits, runs={"0": 1}, **counts
    )


def test_totals__adds_the_minutes_of_the_time(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    row(Span.MINUTE, NOW.replace(second=0), succeeded=3, failed=1)
    row(Span.MINUTE, NOW.replace(minute=0, second=0), succeeded=2, losses=4)
    row(Span.MINUTE, NOW.replace(hour=11, minute=29, second=0), succeeded=7)
    row(Span.MINUTE, NOW.replace(second=0), kind="b", canceled=5)
    row(Span.HOUR, NOW.replace(minute=0, second=0), succeeded=100)
    with django_assert_num_queries(1):
        totals = kinds.totals(timedelta(hours=1))
    a, b = totals["a"], totals["b"]
    assert (a.succeeded, a.failed, a.losses, a.finished) == (5, 1, 4, 6)
    assert (a.failure_rate, b.failure_rate) == (1 / 6, None)
    assert (a.waits, a.runs) == (Histogram({0: 5}), Histogram({0: 2}))
    assert (b.finished, b.canceled) == (5, 5)


def test_sum_of__adds_counts_seconds_and_histograms() -> None:
    row(Span.MINUTE, NOW.replace(second=0), succeeded=3, failed=1, retries=2, run_seconds=4)
    row(Span.MINUTE, NOW.replace(second=0), kind="b", succeeded=1, canceled=5, run_seconds=1)
    total = kinds.sum_of(kinds.totals(timedelta(hours=1)).values())
    assert (total.finished, total.failed, total.retries, total.run_seconds) == (10, 1, 2, 5)
    assert (total.waits, total.runs) == (Histogram({0: 4}), Histogram({0: 2}))
    assert kinds.sum_of([]) == kinds.Figures()


@pytest.mark.parametrize(
    ("over", "span"),
    [
        (timedelta(minutes=5), Span.MINUTE),
        (timedelta(hours=2), Span.MINUTE),
        (timedelta(hours=6), Span.TEN_MINUTES),
        (timedelta(days=7), Span.HOUR),
        (timedelta(days=30), Span.DAY),
        (timedelta(days=4000), Span.DAY),
    ],
)
def test_span_for(over: timedelta, span: str) -> None:
    assert kinds.span_for(over) == span


@pytest.mark.parametrize(
    ("over", "points", "seconds"),
    [
        (timedelta(hours=1), 61, 60),
        (timedelta(hours=2), 50, 180),
        (timedelta(hours=6), 40, 600),
        (timedelta(days=2), 50, 3600),
        (timedelta(days=90), 50, 2 * 86400),
    ],
)
def test_series__has_equal_steps_until_now(over: timedelta, points: int, seconds: int) -> None:
    series = kinds.series(over, points=points)
    assert points / 3 < len(series) <= points + 1
    assert {point.seconds for point in series} == {seconds}
    assert series[-1].start <= NOW < series[-1].start + timedelta(seconds=seconds)
    assert series[0].start <= NOW - over < series[1].start


def test_series__puts_each_row_into_its_step() -> None:
    row(Span.MINUTE, NOW.replace(second=0), succeeded=6)
    row(Span.MINUTE, NOW.replace(minute=29, second=0), succeeded=3)
    row(Span.MINUTE, NOW.replace(second=0), kind="b", failed=1)
    row(Span.MINUTE, NOW.replace(minute=40, second=0), kind="ahead", failed=1)
    over = timedelta(minutes=10)
    assert [point.figures.finished for point in kinds.series(over)][-3:] == [0, 3, 7]
    assert kinds.series(over, kind="a")[-1].throughput == 0.1
    by_kind = kinds.series_by_kind(over)
    assert [point.figures.finished for point in by_kind["a"]][-3:] == [0, 3, 6]
    assert [point.figures.failed for point in by_kind["b"]][-3:] == [0, 0, 1]
    assert [point.start for point in by_kind["a"]] == [point.start for point in by_kind["b"]]


def test_ever__adds_the_days_that_are_not_counted_yet() -> None:
    today = NOW.replace(hour=0, minute=0, second=0)
    row(Span.EVER, today - timedelta(days=1), succeeded=1000)
    row(Span.DAY, today - timedelta(days=2), succeeded=400)  # counted already
    row(Span.DAY, today - timedelta(days=1), succeeded=20)
    row(Span.DAY, today, succeeded=3)
    row(Span.DAY, today, kind="b", failed=2)  # a new kind
    figures = kinds.ever()
    assert {kind: figure.finished for kind, figure in figures.items()} == {"a": 1023, "b": 2}
