"""Reads what waits now: operations in each queue, and operations that are still to be published.

Each statement reads a bounded number of rows, in the order of an index. Ages are by the database's
clock.
"""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from django.db import connections
from django.db.models import DateTimeField
from django.db.models.expressions import RawSQL

from async_reply.attempts.reports import MANY_RELEASES
from async_reply.database import alias
from async_reply.database.clock import DatabaseNow, microseconds
from async_reply.models import Operation
from async_reply.publishing import queues, routing

#: The most operations that a statement reads, of those that wait and of those that run.
ROWS_COUNTED = 10_000


@dataclass
class Queue:
    """The operations of a queue that wait and run, and the workers that read it."""

    #: '' stands for exchanges that do not lead to exactly one known queue.
    name: str
    #: Operations that may start and wait for a worker.
    waiting: int = 0
    #: Seconds for which the oldest of them has been due; 0 if none waits.
    oldest_seconds: float = 0.0
    running: int = 0
    #: Jobs that the living workers of the queue can run at once. Some may read other queues, too.
    capacity: int = 0
    #: Kinds that none of its living workers knows -> seconds for which the oldest has been due.
    unknown_kinds: dict[str, float] = field(default_factory=dict)

    @property
    def is_served(self) -> bool:
        """Whether a living worker reads the queue."""
        return self.capacity > 0


@dataclass(frozen=True)
class Unpublished:
    """Operations that may start and whose message is not sent."""

    count: int
    oldest_seconds: float
    #: False: there are more than `count`.
    is_exact: bool


@dataclass(frozen=True)
class Backlog:
    """The queues in which operations wait or run, or that a living worker reads, by name."""

    queues: dict[str, Queue]
    #: False: more operations wait than were counted.
    is_exact: bool
    #: Living workers.
    workers: int = 0
    #: Operations that were released three times since their last step or item.
    idle: int = 0

    @property
    def waiting(self) -> int:
        return sum(queue.waiting for queue in self.queues.values())

    @property
    def running(self) -> int:
        return sum(queue.running for queue in self.queues.values())


def read() -> Backlog:
    """The operations that wait and run in each queue, by three queries."""
    by_name: dict[str, Queue] = {}
    ages: dict[tuple[str, str], float] = {}
    counted = idle = 0

    @cache  # asking Celery's routes takes as long as a statement
    def queue_of(queue: str, kind: str) -> Queue:
        name = routing.route_or_unknown(kind, queue=queue).queue
        return by_name.setdefault(name, Queue(name))

    for queue, kind, count, age, idle_count in _count(_waiting(), "queue", "kind"):
        row = queue_of(queue, kind)
        row.waiting += count
        row.oldest_seconds = max(row.oldest_seconds, age / 1e6)
        ages[row.name, kind] = max(ages.get((row.name, kind), 0.0), age / 1e6)
        counted += count
        idle += idle_count
    for queue, kind, count, _age, idle_count in _count(Operation.objects.active(), "queue", "kind"):
        queue_of(queue, kind).running += count
        idle += idle_count
    workers = list(queues.living().values_list("concurrency", "queues", "kinds"))
    for concurrency, names, _kinds in workers:
        for name in names:
            by_name.setdefault(name, Queue(name)).capacity += max(1, concurrency)
    for (name, kind), age in ages.items():
        readers = [kinds for _concurrency, names, kinds in workers if name in names]
        # A worker that has named no kinds counts as one that knows all.
        if readers and all(kinds and kind not in kinds for kinds in readers):
            by_name[name].unknown_kinds[kind] = age
    is_exact = counted < ROWS_COUNTED
    return Backlog(dict(sorted(by_name.items())), is_exact, workers=len(workers), idle=idle)


def unpublished() -> Unpublished:
    """The operations that the relay has to publish. Each stays a second, unless the broker fails.

    Operations in a queue that no living worker reads may stay unpublished, too.
    """
    ((count, age, _idle),) = _count(_waiting().unpublished())
    return Unpublished(count, (age or 0) / 1e6, is_exact=count < ROWS_COUNTED)


def _waiting() -> Any:
    return Operation.objects.due().order_by("published_at", "available_at")


def _count(rows: Any, *columns: str) -> list[tuple[Any, ...]]:
    """For each value of the columns: rows, microseconds since the oldest was due, and idle rows."""
    bounded = rows.values_list(*columns, "idle_releases", "available_at")[:ROWS_COUNTED]
    sql, parameters = bounded.query.sql_with_params()
    connection = connections[alias()]
    quote = connection.ops.quote_name
    names = [quote(column) for column in columns]
    age, age_parameters = _age_of_oldest(rows.query, connection)
    idle = f"COUNT(CASE WHEN {quote('idle_releases')} >= {MANY_RELEASES} THEN 1 END)"
    group = f" GROUP BY {', '.join(names)}" if names else ""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join([*names, 'COUNT(*)', age, idle])} "  # noqa: S608 our own columns
            f"FROM ({sql}) AS counted{group}",
            (*age_parameters, *parameters),
        )
        return list(cursor.fetchall())


def _age_of_oldest(query: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
    """SQL for the age of a group. One computation a row takes as long as all the rest."""
    column = connection.ops.quote_name("available_at")
    oldest = RawSQL(f"MIN({column})", (), output_field=DateTimeField())  # noqa: S611 our own column
    age = microseconds(DatabaseNow() - oldest).resolve_expression(query)
    sql, parameters = query.get_compiler(connection=connection).compile(age)
    return sql, tuple(parameters)
