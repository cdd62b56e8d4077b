"""Counts the operations that wait in each queue, and the workers of the queue.

Forecasts of pending operations need it. Each process keeps what it read for two seconds.
"""

import threading
import time
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate
from uuid import UUID

from async_reply.estimates import histories, plans
from async_reply.models import Operation
from async_reply.publishing import queues, routing

#: Rows that are read of the pending operations, oldest first, and of the running ones.
ROWS_READ = 1000
REFRESH_SECONDS = 2.0


@dataclass(frozen=True)
class Position:
    """The place of a pending operation in its queue."""

    #: Operations that are before this one.
    ahead: int
    #: Seconds that such an operation takes on average; None when no kind ahead is known.
    mean_seconds: float | None
    #: Jobs that the queue's workers can run at once, and how many more they could run now.
    workers: int
    idle: int
    #: False when more operations may be before this one than were read.
    is_exact: bool
    #: The name of the queue, and how many operations wait there; without `is_exact` in all queues.
    queue: str
    waiting: int
    #: False: no living worker reads the queue, which is known, and none of its jobs runs.
    is_served: bool


@dataclass
class _Queue:
    """Ids and kinds of the waiting operations, oldest first, and the state of the workers."""

    waiting: list[UUID] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    #: Jobs that run, and jobs that the living workers can run at once.
    running: int = 0
    capacity: int = 0
    #: Seconds that the first n operations take, by n.
    _seconds: list[float] | None = None

    def seconds_of_first(self, count: int) -> float | None:
        """Seconds that the first `count` operations take; None when no kind is known.

        An unknown kind counts as the average of the known ones.
        """
        if self._seconds is None:
            means = {kind: _mean_seconds(kind) for kind in set(self.kinds)}
            known_means = [mean for mean in means.values() if mean is not None]
            average = sum(known_means) / len(known_means) if known_means else 0.0
            by_kind = {kind: average if mean is None else mean for kind, mean in means.items()}
            self._seconds = list(accumulate(map(by_kind.__getitem__, self.kinds), initial=0.0))
        return self._seconds[count] or None


@dataclass
class _Snapshot:
    #: The snapshot is read again after this moment of the monotonic clock.
    due_at: float = 0.0
    queues: dict[str, _Queue] = field(default_factory=dict)
    #: Names of queues by the queue and the kind of an operation. Asking Celery's routes takes as
    #: long as all the rest.
    names: dict[tuple[str, str], str] = field(default_factory=dict)
    #: Whether every waiting operation was read.
    is_whole: bool = True


_snapshot = _Snapshot()
_lock = threading.Lock()


def position(operation: Operation) -> Position:
    """The place of a pending operation in its queue, at most two seconds old.

    This is an estimate. Ids grow with time and brokers deliver in this order, but retries and
    priorities change it.
    """
    snapshot = _fresh()
    pair = (operation.queue, operation.kind)
    name = snapshot.names.get(pair) or snapshot.names.setdefault(pair, _queue_name(*pair))
    queue = snapshot.queues.get(name, _Queue())
    ahead = bisect_left(queue.waiting, operation.pk)
    seconds = queue.seconds_of_first(ahead)
    # A worker reports itself some seconds after its start. Until then we count one.
    capacity = max(1, queue.capacity)
    return Position(
        ahead=ahead,
        mean_seconds=seconds / ahead if seconds and ahead else None,
        workers=max(capacity, queue.running),
        idle=max(0, capacity - queue.running),
        is_exact=snapshot.is_whole,
        queue=name,
        waiting=max(len(queue.waiting), ahead + 1) if snapshot.is_whole else ROWS_READ,
        is_served=not name or queue.capacity + queue.running > 0,
    )


def forget() -> None:
    """Read the queues anew. Tests need this: each starts with an empty database."""
    _snapshot.due_at = 0.0


def _fresh() -> _Snapshot:
    """The snapshot. When it is old, one thread reads it; the others use the old one."""
    with _lock:
        now = time.monotonic()
        if now < _snapshot.due_at:
            return _snapshot
        _snapshot.due_at = now + REFRESH_SECONDS
    _snapshot.queues, _snapshot.is_whole = _read()
    _snapshot.names = {}
    return _snapshot


def _read() -> tuple[dict[str, _Queue], bool]:
    """Queues by name, and whether every waiting operation was read.

    Three queries. Each reads a bounded number of rows in the order of an index.
    """
    queue_name = cache(_queue_name)
    by_name: dict[str, _Queue] = {}
    # This order is that of the index over pending rows only. Ordered by id, PostgreSQL may read
    # all finished rows first. `due` leaves out delayed operations: their published_at is NULL, and
    # on databases that sort NULL first they would fill the whole limit.
    due = Operation.objects.due().order_by("published_at", "available_at")
    # Sorted again because some databases compare UUIDs in another order than Python does.
    rows = sorted(due.values_list("pk", "queue", "kind")[:ROWS_READ])
    for pk, queue, kind in rows:
        backlog = by_name.setdefault(queue_name(queue, kind), _Queue())
        backlog.waiting.append(pk)
        backlog.kinds.append(kind)
    for queue, kind in Operation.objects.active().values_list("queue", "kind")[:ROWS_READ]:
        by_name.setdefault(queue_name(queue, kind), _Queue()).running += 1
    for concurrency, names in queues.living().values_list("concurrency", "queues"):
        for name in names:
            by_name.setdefault(name, _Queue()).capacity += concurrency
    return by_name, len(rows) < ROWS_READ


def _queue_name(queue: str, kind: str) -> str:
    return routing.route_or_unknown(kind, queue=queue).queue


def _mean_seconds(kind: str) -> float | None:
    durations = histories.cached(kind)
    return plans.plan(durations).law.mean if durations else None
