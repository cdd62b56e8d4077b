"""What waits in each queue, and how many work on it, as every process sees it."""

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

#: The oldest pending operations that are looked at: who stands behind them is far from the front.
LOOKED_AT = 1000
#: Seconds for which a process believes what it read.
REFRESH = 2.0


@dataclass(frozen=True)
class Place:
    """How many operations are before one, the seconds they take on average, and who works.

    `is_exact` is False where more may be before it than were looked at.
    """

    ahead: int
    mean: float | None
    workers: int
    idle: int
    is_exact: bool


@dataclass
class _Queue:
    """Ids of what waits, oldest first, and of what kind it is; how many run, and could."""

    waiting: list[UUID] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    running: int = 0
    capacity: int = 0
    _work: list[float] | None = None

    def work(self, before: int) -> float | None:
        """Seconds that the first `before` take, None when nothing is known of any kind."""
        if self._work is None:
            means = {kind: _mean(kind) for kind in set(self.kinds)}
            told = [mean for mean in means.values() if mean is not None]
            usual = sum(told) / len(told) if told else 0.0
            seconds = {kind: usual if mean is None else mean for kind, mean in means.items()}
            self._work = list(accumulate(map(seconds.__getitem__, self.kinds), initial=0.0))
        return self._work[before] or None


@dataclass
class _Snapshot:
    due_at: float = 0.0
    queues: dict[str, _Queue] = field(default_factory=dict)
    #: Queues by an operation's own and its kind: asking Celery's routes takes as long as the rest.
    names: dict[tuple[str, str], str] = field(default_factory=dict)
    #: Whether all that waits was looked at.
    is_whole: bool = True


_snapshot = _Snapshot()
_lock = threading.Lock()


def place(operation: Operation) -> Place:
    """Where a pending operation stands in its queue, as it was within the last two seconds.

    Ids grow with time and brokers deliver in turn, retries and priorities apart: an estimate.
    """
    snapshot = _fresh()
    line = (operation.queue, operation.kind)
    name = snapshot.names.get(line) or snapshot.names.setdefault(line, _queue_of(*line))
    queue = snapshot.queues.get(name, _Queue())
    ahead = bisect_left(queue.waiting, operation.pk)
    work = queue.work(ahead)
    # A worker says that it lives some seconds after it has started: one there is at least.
    capacity = max(1, queue.capacity)
    return Place(
        ahead=ahead,
        mean=work / ahead if work and ahead else None,
        workers=max(capacity, queue.running),
        idle=max(0, capacity - queue.running),
        is_exact=snapshot.is_whole,
    )


def forget() -> None:
    """Read all anew: for tests, whose database starts empty each time."""
    _snapshot.due_at = 0.0


def _fresh() -> _Snapshot:
    """Of all who find the snapshot old one reads, and the others go on with the old."""
    with _lock:
        now = time.monotonic()
        if now < _snapshot.due_at:
            return _snapshot
        _snapshot.due_at = now + REFRESH
    _snapshot.queues, _snapshot.is_whole = _read()
    _snapshot.names = {}
    return _snapshot


def _read() -> tuple[dict[str, _Queue], bool]:
    """Three statements, each over a bounded number of rows that an index brings in order."""
    queue_of = cache(_queue_of)
    found: dict[str, _Queue] = {}
    # By the index that holds what is pending and nothing else: by id, PostgreSQL may choose to read
    # all that has finished first. What is not due is left out by the database: where NULL sorts
    # first, it would else be all that is looked at.
    due = Operation.objects.due().order_by("published_at", "available_at")
    # Sorted again: not every database compares UUIDs as Python does.
    rows = sorted(due.values_list("pk", "queue", "kind")[:LOOKED_AT])
    for pk, queue, kind in rows:
        line = found.setdefault(queue_of(queue, kind), _Queue())
        line.waiting.append(pk)
        line.kinds.append(kind)
    for queue, kind in Operation.objects.active().values_list("queue", "kind")[:LOOKED_AT]:
        found.setdefault(queue_of(queue, kind), _Queue()).running += 1
    for concurrency, names in queues.living().values_list("concurrency", "queues"):
        for name in names:
            found.setdefault(name, _Queue()).capacity += concurrency
    return found, len(rows) < LOOKED_AT


def _queue_of(queue: str, kind: str) -> str:
    return routing.route_or_unknown(kind, queue=queue).queue


def _mean(kind: str) -> float | None:
    seconds = histories.known(kind)
    return plans.plan(seconds).law.mean if seconds else None
