"""Queues as the rows tell of them: what waits in each, and which workers read it."""

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from async_reply.database.clock import DatabaseNow
from async_reply.logs import logger
from async_reply.models import Operation, Worker
from async_reply.publishing import routing
from async_reply.querysets import OperationQuerySet

#: Workers write that they live each 10 to 20 seconds.
SEEN_WITHIN = timedelta(minutes=1)
WAITING_FOR = timedelta(minutes=1)
#: Rows of a backlog that are looked at, and of each kind in it.
LOOKED_AT = 1000
LOOKED_AT_OF_A_KIND = 200


def oldest(waiting: OperationQuerySet, *fields: str) -> list[Operation]:
    """The first rows of a backlog, however long it is, and the first of each kind.

    One kind's long backlog hides no other kind. The index that leads to kinds ends in
    `finished_at`, which is NULL for what waits.
    """
    ordered = waiting.order_by("published_at", "available_at").only(*fields)
    rows = {row.pk: row for row in ordered[:LOOKED_AT]}
    if len(rows) == LOOKED_AT:
        for kind in routing.kinds():
            of_kind = ordered.filter(kind=kind, finished_at=None)[:LOOKED_AT_OF_A_KIND]
            rows |= {row.pk: row for row in of_kind}
    return list(rows.values())


def living() -> Any:
    """The workers that were seen lately."""
    return Worker.objects.filter(seen_at__gte=DatabaseNow() - SEEN_WITHIN)


def served() -> dict[str, bool]:
    """The queues that living workers read; True where such a worker has a process to spare.

    A worker whose processes are all busy may hold messages that no broker counts.
    """
    running = Counter(
        name.rpartition("/")[0]
        for name in Operation.objects.active().values_list("worker", flat=True)
    )
    workers = list(living().values_list("name", "concurrency", "queues"))
    processes: Counter[str] = Counter()
    for name, concurrency, _ in workers:  # of which several may share a name
        processes[name] += max(1, concurrency)
    queues: dict[str, bool] = {}
    for name, _, names in workers:
        for queue in names:
            queues[queue] = queues.get(queue, False) or running[name] < processes[name]
    return queues


def unserved() -> list[str]:
    """Queues in which operations have waited for a minute, and that no living worker reads."""
    due = Operation.objects.due().filter(available_at__lte=DatabaseNow() - WAITING_FOR)
    waiting = oldest(due, "kind", "queue", "priority")
    if not waiting:
        return []
    return sorted(_queues(waiting).difference(*living().values_list("queues", flat=True)))


def _queues(operations: Iterable[Operation]) -> set[str]:
    """Without what goes to no queue that Celery knows: a check tells of that."""
    lines = {(row.kind, row.queue) for row in operations}
    return {routing.route_or_unknown(kind, queue=queue).queue for kind, queue in lines} - {""}


def warn_of_unserved() -> int:
    """Write each unserved queue into the log; 0, since there is nothing to hurry for."""
    for queue in unserved():
        logger.warning(
            "Operations wait in queue %s, which no worker reads: start one with -Q %s, or mend "
            "CELERY_TASK_ROUTES",
            queue,
            queue,
        )
    return 0
