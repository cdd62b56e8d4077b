"""Finds by the rows of operations and workers which queues a living worker reads."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

from async_reply.database import alias
from async_reply.database.clock import DatabaseNow
from async_reply.logs import logger
from async_reply.models import Operation, Turn, Worker
from async_reply.publishing import routing
from async_reply.querysets import OperationQuerySet

#: A worker counts as living for this time. It renews its row every 10 to 20 seconds.
SEEN_WITHIN = timedelta(minutes=1)
UNSERVED_AFTER = timedelta(minutes=1)
#: The most rows of a backlog that are read, and the most of each kind in a longer one.
MAX_ROWS = 200
MAX_ROWS_OF_KIND = 50
#: Stands for the name of a kind while a statement is compiled. No kind is called so.
ANY_KIND = "<kind>"
#: SQLite takes a bounded number of parameters, and each kind needs about fifteen.
KINDS_IN_A_STATEMENT = 50
#: The name of the duty that looks for unserved queues.
DUTY = "unserved"


def oldest(waiting: OperationQuerySet, *fields: str) -> list[Operation]:
    """The oldest rows of a backlog, and some of each kind if the backlog is long.

    A long backlog of one kind must not hide other kinds. Rows of a kind come as the index on kinds
    has them, mostly the oldest first: to sort them, the database would read the whole backlog. The
    condition on `finished_at` lets it use this index.
    """
    ordered = waiting.order_by("published_at", "available_at").only(*fields)
    rows = {row.pk: row for row in ordered[:MAX_ROWS]}
    if len(rows) == MAX_ROWS:
        rows |= {row.pk: row for row in _of_each_kind(ordered.order_by())}
    return list(rows.values())


def _of_each_kind(waiting: OperationQuerySet) -> Iterator[Operation]:
    """Some rows of each kind. One statement reads several kinds.

    Django takes two milliseconds to compile a statement that the database answers in a tenth of
    one. So the SQL of one kind is compiled, and repeated for the others: with five kinds that
    takes half of the processor time of a statement for each kind.
    """
    of_kind = waiting.filter(kind=ANY_KIND, finished_at=None)[:MAX_ROWS_OF_KIND]
    sql, parameters = of_kind.query.get_compiler(alias()).as_sql()
    kinds = routing.kinds()
    for start in range(0, len(kinds), KINDS_IN_A_STATEMENT):
        parts, values = [], []
        for number, kind in enumerate(kinds[start : start + KINDS_IN_A_STATEMENT]):
            parts.append(f"SELECT * FROM ({sql}) AS kind_{number}")  # noqa: S608 Django's own SQL
            values += [kind if value == ANY_KIND else value for value in parameters]
        yield from Operation.objects.raw(" UNION ALL ".join(parts), values, using=alias())


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
    processes: Counter[tuple[str, str]] = Counter()
    for name, concurrency, names in living().values_list("name", "concurrency", "queues"):
        for queue in names:
            processes[queue, name] += max(1, concurrency)
    queues: dict[str, bool] = {}
    # Several workers may share a name. All jobs of that name then count for each of their queues.
    for (queue, name), count in processes.items():
        queues[queue] = queues.get(queue, False) or running[name] < count
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
    """Log each queue that is unserved in two looks in a row, once until a worker reads it again.

    Workers that restart have no row for a moment, so one look proves nothing. The duty's row keeps
    the findings, so that only one of all workers logs them. Returns 0: no operation was changed.
    """
    row = Turn.objects.filter(duty=DUTY)
    findings = row.values_list("findings", flat=True).first() or {}
    before, told = set(findings.get("unserved", ())), set(findings.get("told", ()))
    names = set(unserved())
    for queue in sorted(names & before - told):
        logger.warning(
            "Operations wait in queue %s, but no worker reads it: start a worker with -Q %s, or "
            "correct CELERY_TASK_ROUTES",
            queue,
            queue,
        )
    for queue in sorted(told - names):
        logger.info("No operation waits in queue %s without a worker any more", queue)
    changed = {"unserved": sorted(names), "told": sorted(names & (before | told))}
    if changed != findings and not row.update(findings=changed):
        Turn.objects.create(duty=DUTY, due_at=DatabaseNow(), findings=changed)
    return 0
