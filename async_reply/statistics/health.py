"""Judges whether operations are accepted, published and run, for the status command and probes."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum

from django.db import Error

from async_reply import database
from async_reply.database import schema
from async_reply.publishing import broker
from async_reply.publishing.queues import UNSERVED_AFTER
from async_reply.statistics import backlog, kinds, workers
from async_reply.statistics.backlog import Queue, Unpublished
from async_reply.statistics.workers import LivingWorker

#: The parts of the state. Each is read only when the caller names it.
DATABASE, BROKER, WORKERS, QUEUES, FAILURES = ALL = (
    "database",
    "broker",
    "workers",
    "queues",
    "failures",
)
FAILURES_OVER = timedelta(hours=1)


class Level(IntEnum):
    """How bad a problem is. The values are exit statuses, as monitoring plugins have them."""

    OK = 0
    WARNING = 1
    CRITICAL = 2


#: The least value that is a warning, and the least that is critical. None: no value is.
Limit = tuple[float, float] | None


@dataclass(frozen=True)
class Limits:
    """From when on a value is a problem."""

    #: Seconds for which the oldest operation of a queue has been due.
    oldest: Limit = (300, 1800)
    #: Operations that wait in one queue.
    waiting: Limit = None
    #: Seconds for which the oldest operation has been due and not published.
    unpublished: Limit = (60, 300)
    #: Operations that failed in the last hour.
    failures: Limit = None


@dataclass(frozen=True)
class Problem:
    level: Level
    text: str


@dataclass
class Health:
    """The state, and its problems. A part is None if it was not asked or could not be read."""

    database: bool | None = None
    broker: bool | None = None
    workers: list[LivingWorker] | None = None
    queues: list[Queue] | None = None
    unpublished: Unpublished | None = None
    #: Operations that are released again and again and get no further.
    idle: int | None = None
    #: Failed operations by kind in the last hour. As old as the last roll-up.
    failures: dict[str, int] | None = None
    problems: list[Problem] = field(default_factory=list)

    @property
    def level(self) -> Level:
        return max((problem.level for problem in self.problems), default=Level.OK)

    def complain(self, text: str, level: Level = Level.CRITICAL) -> None:
        self.problems.append(Problem(level, text))


def read(parts: Collection[str] = ALL, limits: Limits | None = None) -> Health:
    """The state of these parts. Takes `PUBLISH_TIMEOUT` for the broker at most."""
    health = Health()
    try:
        _read(health, parts)
    except Error as error:
        if schema.is_behind(error):
            health.complain(schema.REMEDY)
        else:
            health.database = False
            health.complain("The database does not answer.")
    if BROKER in parts:
        health.broker = broker.answers()
        if not health.broker:
            health.complain("The broker does not answer.")
    _judge(health, limits or Limits())
    return health


def _read(health: Health, parts: Collection[str]) -> None:
    if DATABASE in parts:
        health.database = database.answers()
        if not health.database:
            health.complain("The database does not answer.")
            return
    if WORKERS in parts:
        health.workers = workers.living()
    if QUEUES in parts:
        state = backlog.read()
        health.queues, health.idle = list(state.queues.values()), state.idle
        health.unpublished = backlog.unpublished()
    if FAILURES in parts:
        totals = kinds.totals(FAILURES_OVER)
        health.failures = {kind: figures.failed for kind, figures in totals.items()}


def _judge(health: Health, limits: Limits) -> None:
    if health.workers == []:
        health.complain("No worker lives.")
    for queue in health.queues or ():
        name = f"Queue {queue.name}" if queue.name else "Exchanges"
        if queue.name and not queue.is_served and _is_late(queue.oldest_seconds):
            health.complain(f"{name}: operations wait, and no living worker reads it.")
        for kind in sorted(k for k, age in queue.unknown_kinds.items() if _is_late(age)):
            text = f"{name}: operations of {kind} wait, and no living worker knows this kind."
            health.complain(text, Level.WARNING)
        _compare(health, limits.oldest, queue.oldest_seconds, f"{name}: the oldest waits", " s")
        _compare(health, limits.waiting, queue.waiting, f"{name}: operations that wait:")
    if health.unpublished is not None:
        age = health.unpublished.oldest_seconds
        _compare(
            health, limits.unpublished, age, "The oldest unpublished operation is due for", " s"
        )
    if health.idle:
        text = "Operations that workers release again and again, and that get no further:"
        health.complain(f"{text} {health.idle}.", Level.WARNING)
    if health.failures is not None:
        failures = sum(health.failures.values())
        _compare(health, limits.failures, failures, "Operations that failed in an hour:")


def _is_late(seconds: float) -> bool:
    """Whether something waits for longer than a worker takes to restart."""
    return seconds >= UNSERVED_AFTER.total_seconds()


def _compare(health: Health, limit: Limit, value: float, subject: str, unit: str = "") -> None:
    if limit is None:
        return
    warning, critical = limit
    if value >= warning:
        level = Level.CRITICAL if value >= critical else Level.WARNING
        health.complain(f"{subject} {value:.0f}{unit}.", level)


def lines(health: Health) -> Iterator[str]:
    """The state as text, one line for each part that was read."""
    for name, answers in (("database", health.database), ("broker", health.broker)):
        if answers is not None:
            yield f"{name}: {'answers' if answers else 'does not answer'}"
    for worker in health.workers or ():
        queues = ",".join(worker.queues) or "no queue"
        yield (
            f"worker {worker.name}: runs {len(worker.running)} of {worker.concurrency}, "
            f"reads {queues}"
        )
    for queue in health.queues or ():
        yield (
            f"queue {queue.name or '(exchanges)'}: {queue.waiting} wait, the oldest for "
            f"{queue.oldest_seconds:.0f} s; {queue.running} run"
        )
    if health.unpublished is not None:
        count, age = health.unpublished.count, health.unpublished.oldest_seconds
        yield f"unpublished: {count}, the oldest for {age:.0f} s"
    if health.idle is not None:
        yield f"released without getting further: {health.idle}"
    if health.failures is not None:
        yield f"failed in the last hour: {sum(health.failures.values())}"


def document(health: Health) -> dict[str, object]:
    """The state as JSON values."""
    return {
        "status": health.level.name.lower(),
        "problems": [problem.text for problem in health.problems],
        "database": health.database,
        "broker": health.broker,
        "workers": health.workers
        and [
            {
                "name": worker.name,
                "host": worker.host,
                "pid": worker.pid,
                "started_at": worker.started_at.isoformat(),
                "concurrency": worker.concurrency,
                "running": len(worker.running),
                "queues": worker.queues,
            }
            for worker in health.workers
        ],
        "queues": health.queues
        and [
            {
                "name": queue.name,
                "waiting": queue.waiting,
                "oldest_seconds": round(queue.oldest_seconds, 3),
                "running": queue.running,
                "served": queue.is_served,
            }
            for queue in health.queues
        ],
        "unpublished": health.unpublished
        and {
            "count": health.unpublished.count,
            "oldest_seconds": round(health.unpublished.oldest_seconds, 3),
        },
        "idle": health.idle,
        "failures": health.failures,
    }
