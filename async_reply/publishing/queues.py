"""Finds by the rows of operations and workers which queues a living worker reads."""

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from async_reply.database.clock import DatabaseNow
from async_reply.logs import logger
from async_reply.models import Operation, Worker
from async_reply.publishing import routing
from async_reply.querysets import OperationQuerySet

#: A worker counts as living for this time. It renews its row every 10 to 20 seconds.
SEEN_WITHIN = timedelta(minutes=1)
UNSERVED_AFTER = timedelta(minutes=1)
#: The most rows of a backlog that are read, and the most of each kind in a longer one.
MAX_ROWS = 1000
MAX_ROWS_OF_KIND = 200


def oldest(waiting: OperationQuerySet, *fields: str) -> list[Operation]:
    """The oldest rows of a backlog, and the oldest of each kind if the backlog is long.

    A long backlog of one kind must not hide other kinds. The condition on `finished_at` lets the
    database use the index on kinds.
    """
    ordered = waiting.order_by("published_at", "available_at").only(*fields)
    rows = {row.pk: row for row in ordered[:MAX_ROWS]}
    if len(rows) == MAX_ROWS:
        for kind in routing.kinds():
            of_kind = ordered.filter(kind=kind, finished_at=None)[:MAX_ROWS_OF_KIND]
            rows |= {row.pk: row for row in of_kind}
    return list(rows.values())


def living() -> Any:
    """The rows of workers that were seen within a minute."""
    return Worker.objects.filter(seen_at__gte=DatabaseNow() - SEEN_WITHIN)


def served() -> dict[str, bool]:
    """The queues that living workers read. True: one of these workers has an idle process.

    A worker whose processes are all busy may hold messages that the broker does not count.
    """
    running = Counter(
        name.rpartition("/")[0]
        for name in Operation.objects.active().values_list("worker", flat=True)
    )
    workers = list(living().values_list("name", "concurrency", "queues"))
    processes: Counter[str] = Counter()
    for name, concurrency, _ in workers:  # several workers may share a name
        processes[name] += max(1, concurrency)
    queues: dict[str, bool] = {}
    for name, _, names in workers:
        for queue in names:
            queues[queue] = queues.get(queue, False) or running[name] < processes[name]
    return queues


def unserved() -> list[str]:
    """The names of queues that no living worker reads, while operations wait there for a minute."""
    due = Operation.objects.due().filter(available_at__lte=DatabaseNow() - UNSERVED_AFTER)
    waiting = oldest(due, "kind", "queue", "priority")
    if not waiting:
        return []
    return sorted(_queues(waiting).difference(*living().values_list("queues", flat=True)))


def _queues(operations: Iterable[Operation]) -> set[str]:
    """The queues that Celery knows for `operations`. A check reports kinds without such a queue."""
    pairs = {(row.kind, row.queue) for row in operations}
    return {routing.route_or_unknown(kind, queue=queue).queue for kind, queue in pairs} - {""}


def warn_of_unserved() -> int:
    """Log each unserved queue. Returns 0: no operation was changed."""
    for queue in unserved():
        logger.warning(
            "Operations wait in queue %s, but no worker reads it: start a worker with -Q %s, or "
            "correct CELERY_TASK_ROUTES",
            queue,
            queue,
        )
    return 0
