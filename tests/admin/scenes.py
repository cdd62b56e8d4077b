"""A site at work, for tests and pictures of the admin: statistics, workers, and operations."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from math import sin
from typing import Any

from django.utils import timezone

from async_reply import lifecycle, services
from async_reply.database.clock import as_stored
from async_reply.models import KindStatistics, Operation, Worker
from async_reply.statistics import kinds
from async_reply.statistics.histograms import Histogram
from async_reply.statistics.kinds import LENGTHS
from tests.project.tasks import echo

#: Rows of each span are made for this time.
SEEDED = {"minute": timedelta(hours=1), "ten": timedelta(days=1), "hour": timedelta(days=8)}


def finished(
    kind: str,
    *,
    span: str = "ten",
    ago: timedelta = timedelta(),
    waits: Iterable[float] = (),
    runs: Iterable[float] = (),
    **counts: int,
) -> None:
    """Store a row of statistics. `counts` are those of outcomes."""
    _row(kind, span, datetime.now(UTC) - ago, waits=waits, runs=runs, **counts).save()


def _row(
    kind: str, span: str, at: datetime, *, waits: Any, runs: Any, **counts: int
) -> KindStatistics:
    return KindStatistics(
        kind=kind,
        span=span,
        start=as_stored(kinds.floor(at, LENGTHS[kinds.Span(span)])),
        waits=Histogram.of(waits).to_json(),
        runs=Histogram.of(runs).to_json(),
        **counts,
    )


def history(kind: str, *, each: int, run: float, failing: int) -> None:
    """Store rows for the last hour, day and week in which about `each` operations finish a step."""
    now, rows = datetime.now(UTC), []
    for span, over in SEEDED.items():
        length = LENGTHS[kinds.Span(span)]
        for step in range(over // length):
            wave = 1 + 0.6 * sin(step / 7 + run)
            number = round(each * wave)
            failed = failing if step % 5 == 0 else 0
            row = _row(
                kind,
                span,
                now - step * length,
                waits=[0.05 * wave**4 * (1 + n % 9) ** 1.5 for n in range(number + failed)],
                runs=[run * wave * (1 + (n % 13) / 4) for n in range(number + failed)],
                succeeded=number,
                failed=failed,
                canceled=1 if step % 11 == 0 else 0,
            )
            rows.append(row)
    KindStatistics.objects.bulk_create(rows)


def worker(name: str, *queues: str, boot_id: str, concurrency: int = 2) -> Worker:
    row: Worker = Worker.objects.create(
        name=name, host="host", pid=6, boot_id=boot_id, queues=queues, concurrency=concurrency
    )
    return row


def waiting(*, kind: str = "", seconds: float = 0, task: Any = echo, **columns: Any) -> Operation:
    """An operation that has been due for so long."""
    operation = services.submit(task, owner="ada")
    # SQLite's clock has milliseconds alone, and would find this process's time not yet past.
    due_at = timezone.now() - timedelta(seconds=seconds, milliseconds=2)
    columns = {"kind": kind or operation.kind, "available_at": due_at, "published_at": due_at} | (
        columns
    )
    Operation.objects.filter(pk=operation.pk).update(**columns)
    operation.refresh_from_db()
    return operation


def running(process: str, *, seconds: float = 0, **columns: Any) -> Operation:
    """An operation that a process has run for so long."""
    operation = waiting(**columns)
    assert lifecycle.claim(operation, worker=process)
    started_at = timezone.now() - timedelta(seconds=seconds)
    Operation.objects.filter(pk=operation.pk).update(started_at=started_at)
    operation.refresh_from_db()
    return operation


def busy_site() -> None:
    """A week of four kinds, two workers, and a queue that nobody reads."""
    history("reports.export_report", each=9, run=4.0, failing=1)
    history("images.resize", each=30, run=0.2, failing=0)
    history("invoices.send", each=6, run=0.8, failing=2)
    history("search.reindex", each=2, run=90.0, failing=0)
    worker("celery@web-1", "celery", boot_id="aaaa", concurrency=4)
    worker("reports@batch-1", "reports", boot_id="bbbb", concurrency=2)
    for number in range(3):
        kind = ("images.resize", "invoices.send")[number % 2]
        running(f"celery@web-1/1{number}-aaaa", seconds=3 + number, kind=kind)
    running(
        "reports@batch-1/21-bbbb",
        seconds=312,
        kind="search.reindex",
        queue="reports",
        progress=62,
        message="Chapter 5 of 8",
    )
    for number in range(14):
        waiting(kind="images.resize", seconds=2 + number)
    for number in range(3):
        waiting(kind="reports.export_report", seconds=40 + number, queue="reports")
    for number in range(5):
        waiting(kind="videos.render", seconds=700 + number, queue="gpu", published_at=None)
