"""Roll-ups are compared with the operations themselves, counted in Python."""

import random
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from django.db import OperationalError, connection, connections
from pytest_django import DjangoAssertNumQueries

from async_reply.database.clock import as_stored
from async_reply.models import KindStatistics, Operation
from async_reply.statistics import counting, kinds, rollup
from async_reply.statistics.histograms import Histogram
from async_reply.statistics.kinds import LENGTHS, Span, as_utc, floor
from async_reply.status import FINAL, Status

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 5, 4, 12, 30, 20, tzinfo=UTC)
OUTCOMES = sorted(FINAL)


def finished(
    ago: timedelta, *, kind: str = "a", status: str = Status.SUCCEEDED, run: float = 2, **more: Any
) -> Operation:
    """An operation that has waited for a second, and finished that long before NOW."""
    end = NOW - ago
    start = end - timedelta(seconds=run)
    return Operation(
        kind=kind,
        status=status,
        available_at=as_stored(start - timedelta(seconds=more.pop("wait", 1))),
        started_at=as_stored(start),
        finished_at=as_stored(end),
        **more,
    )


def store(*operations: Operation) -> None:
    Operation.objects.bulk_create(operations)


def at_random(count: int, *, over: timedelta) -> list[Operation]:
    chance = random.Random(7)
    return [
        finished(
            over * chance.random(),
            kind=chance.choice("abc"),
            status=chance.choice(OUTCOMES),
            run=chance.lognormvariate(1, 2),
            wait=chance.lognormvariate(-1, 2),
            total_retries=chance.choice((0, 0, 2)),
            total_losses=chance.choice((0, 0, 1)),
        )
        for _ in range(count)
    ]


def rows(span: str) -> dict[tuple[str, datetime], KindStatistics]:
    statistics = KindStatistics.objects.filter(span=span)
    return {(row.kind, as_utc(row.start)): row for row in statistics}


def by_start(span: Any, operations: Iterable[Operation]) -> Counter[tuple[str, datetime]]:
    return Counter(
        (row.kind, floor(as_utc(row.finished_at), LENGTHS[span]))
        for row in operations
        if row.finished_at
    )


def count_of(row: KindStatistics) -> int:
    return row.succeeded + row.failed + row.canceled


def counts(span: str) -> dict[tuple[str, datetime], int]:
    return {key: count_of(row) for key, row in rows(span).items()}


@pytest.mark.parametrize("span", list(LENGTHS))
def test_roll_up__counts_every_operation_once(span: str) -> None:
    operations = at_random(300, over=timedelta(minutes=110))
    store(*operations)
    while not rollup.roll_up(NOW):
        pass
    assert counts(span) == by_start(span, operations)


def test_roll_up__sums_outcomes_and_histograms() -> None:
    operations = at_random(200, over=timedelta(minutes=50))
    store(*operations)
    rollup.roll_up(NOW)
    for kind in "abc":
        of_kind = [row for row in operations if row.kind == kind]
        ended = [row for row in of_kind if row.status != Status.CANCELED]
        runs = [row.finished_at.timestamp() - row.started_at.timestamp() for row in ended]  # type: ignore[union-attr]
        waits = [row.started_at.timestamp() - row.available_at.timestamp() for row in ended]  # type: ignore[union-attr]
        (day,) = (row for (name, _), row in rows(Span.DAY).items() if name == kind)
        assert Counter(row.status for row in of_kind) == {
            status: getattr(day, status) for status in OUTCOMES
        }
        assert day.retries == sum(row.total_retries for row in of_kind)
        assert day.losses == sum(row.total_losses for row in of_kind)
        assert day.run_seconds == pytest.approx(sum(runs), abs=1e-3)
        assert day.wait_seconds == pytest.approx(sum(waits), abs=1e-3)
        assert Histogram.from_json(day.runs) == Histogram.of(runs)
        assert Histogram.from_json(day.waits) == Histogram.of(waits)


def test_roll_up__operation_without_an_attempt_has_no_wait() -> None:
    failed = finished(timedelta(0), status=Status.FAILED)
    failed.started_at = None
    store(failed)
    rollup.roll_up(NOW)
    (day,) = rows(Span.DAY).values()
    assert (day.failed, day.waits, day.runs, day.run_seconds) == (1, {}, {}, 0)


def test_roll_up__again_writes_no_row(django_assert_max_num_queries: Any) -> None:
    store(*at_random(50, over=timedelta(hours=2)))
    rollup.roll_up(NOW)
    written = []

    def watch(execute: Any, sql: str, *args: Any) -> Any:
        written.extend([sql] * sql.startswith(("INSERT", "UPDATE")))
        return execute(sql, *args)

    # Three kinds, each by four statements, and what their number does not change.
    with connection.execute_wrapper(watch), django_assert_max_num_queries(45):
        assert rollup.roll_up(NOW)
    assert not written


def test_roll_up__counts_what_commits_late() -> None:
    store(finished(timedelta(seconds=10)))
    rollup.roll_up(NOW)
    store(finished(timedelta(minutes=2)))
    rollup.roll_up(NOW + timedelta(seconds=30))
    assert [count_of(row) for row in rows(Span.MINUTE).values()] == [1, 1]
    assert [count_of(row) for row in rows(Span.DAY).values()] == [2]


def test_roll_up__after_an_outage_goes_on_where_it_ended() -> None:
    """No worker lived for three days. Web processes canceled operations meanwhile."""
    before = finished(timedelta(days=3, minutes=10))
    store(before)
    rollup.roll_up(NOW - timedelta(days=3))
    operations = at_random(100, over=timedelta(days=3))
    store(*operations)
    while not rollup.roll_up(NOW):
        pass
    assert counts(Span.HOUR) == by_start(Span.HOUR, [before, *operations])
    assert counts(Span.DAY) == by_start(Span.DAY, [before, *operations])
    kept_from = floor(NOW - kinds.KEPT[Span.MINUTE], timedelta(minutes=10))
    kept = [row for row in operations if row.finished_at and as_utc(row.finished_at) >= kept_from]
    assert counts(Span.MINUTE) == by_start(Span.MINUTE, kept)
    assert sum(figures.finished for figures in kinds.ever().values()) == 101


def test_roll_up__of_a_table_without_statistics_takes_several_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rollup, "STEPS", 3)
    operations = [finished(timedelta(days=2 * day)) for day in range(8)]
    store(*operations)
    turns = 0
    while not rollup.roll_up(NOW):
        turns += 1
        assert turns < 10
    assert turns > 1
    assert counts(Span.DAY) == by_start(Span.DAY, operations)
    assert not rows(Span.MINUTE).keys() - by_start(Span.MINUTE, operations).keys()


def test_roll_up__deletes_old_rows_and_forgets_no_operation() -> None:
    """More than a year, with an operation on every 25th day. `ever` never shrinks."""
    for number in range(20):
        day = NOW + timedelta(days=25 * number)
        store(finished(NOW - day, kind="ab"[number > 9]))
        while not rollup.roll_up(day):
            pass
        Operation.objects.all().delete()
        assert sum(figures.finished for figures in kinds.ever().values()) == number + 1
    assert {row.kind: count_of(row) for row in rows(Span.EVER).values()} == {"a": 10, "b": 9}
    assert (len(rows(Span.MINUTE)), len(rows(Span.HOUR)), len(rows(Span.DAY))) == (1, 1, 17)


def test_roll_up__purge_takes_nothing_away() -> None:
    store(*at_random(50, over=timedelta(minutes=3)))
    rollup.roll_up(NOW)
    before = counts(Span.MINUTE), counts(Span.DAY)
    Operation.objects.filter(kind="a").delete()
    Operation.objects.filter(status=Status.SUCCEEDED).delete()
    rollup.roll_up(NOW)
    assert (counts(Span.MINUTE), counts(Span.DAY)) == before


def test_roll_up__of_a_worker_that_is_late_keeps_the_newer_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another worker has a whole turn after this one has counted, and before it writes."""
    store(finished(timedelta(seconds=30)))
    count = counting.count

    def count_and_be_late(*args: Any) -> Any:
        monkeypatch.setattr(counting, "count", count)
        counted = count(*args)
        store(finished(timedelta(seconds=31)))
        rollup.roll_up(NOW)
        return counted

    monkeypatch.setattr(counting, "count", count_and_be_late)
    rollup.roll_up(NOW)
    for span in LENGTHS:
        assert list(counts(span).values()) == [2]


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite lets one connection write")
@pytest.mark.django_db(transaction=True)
def test_roll_up__of_two_workers_at_once_counts_each_day_once() -> None:
    store(*at_random(60, over=timedelta(days=4)))
    """A deadlock on MariaDB may end a turn. The next turn then counts the same."""
    barrier = Barrier(3)

    def turn(_: int) -> None:
        barrier.wait(30)
        with suppress(OperationalError):
            rollup.roll_up(NOW)
        connections.close_all()

    for _ in range(3):
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(turn, range(3)))
    rollup.roll_up(NOW)
    assert sum(figures.finished for figures in kinds.ever().values()) == 60
    assert len(rows(Span.EVER)) == 3


def test_roll_up__without_operations(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(18):
        assert rollup.roll_up(NOW)
    assert not KindStatistics.objects.exists()
