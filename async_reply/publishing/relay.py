"""Publishes operations: after their submit, when they are due, and again if a message was lost.

The row of an operation is its own outbox. Celery's message carries the id and nothing else.
"""

import logging
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from functools import cache, reduce
from operator import attrgetter, or_
from typing import Any, TypeAlias
from uuid import UUID

from django.db import transaction
from django.db.models import F, Max, Q

from async_reply import conf, lifecycle, traces
from async_reply.database import alias
from async_reply.database.clock import DatabaseNow
from async_reply.logs import logger
from async_reply.models import Operation
from async_reply.publishing import broker, queues, routing
from async_reply.publishing.broker import breaker
from async_reply.publishing.routing import Route

FIELDS = ("id", "kind", "status", "attempt", "publishes", "queue", "priority", "traceparent")
LANE_FIELDS = ("queue", "kind", "priority")
MAX_PAUSE_SECONDS = 60
#: The wait for a message doubles so often: from 10 to 320 seconds by default.
DOUBLINGS = 5
#: Workers receive the messages of a lane in the order in which they were published. A lane is a
#: route, and for kinds with a rate limit the kind as well.
Lane: TypeAlias = tuple[Route, str]


def publish_on_commit(operation: Operation) -> None:
    """Publish once the transaction has committed. After a failure the relay publishes."""
    # Django logs the name of a callback that fails. A partial has none, so Django would raise.
    transaction.on_commit(lambda: _publish_first(operation), using=alias(), robust=True)


def _publish_first(operation: Operation) -> None:
    """Publish, unless the broker has just failed.

    A transaction that submits many operations then waits for the broker only once. The event
    `submitted` says whether the message was sent.
    """
    if breaker.is_open:
        lifecycle.hand_back(operation)
        operation.published_at = None
    elif _publish_reserved(operation) and operation.publishes > 1:
        _log_published(operation)


def publish_due() -> int:
    """Publish a batch of operations that are due and not published. Returns how many."""
    due = Operation.objects.due().unpublished().order_by("available_at").only(*FIELDS)
    return _publish_all(list(due[: conf.get("BATCH")]))


def republish_lost() -> int:
    """Publish a batch of operations again whose messages are lost, the oldest first.

    Returns how many. A message is lost if a later message of its lane was claimed. Messages are
    lost, too, if a worker that reads the queue has an idle process and the broker counts fewer
    messages than operations wait. A long wait alone is no proof: it would flood the broker with
    second messages during any backlog. Queues that no living worker reads are left alone.
    """
    if breaker.is_open:
        return 0
    due = Operation.objects.due().filter(_waited_long())
    waiting = queues.oldest(due, *FIELDS, "published_at")
    lost = sorted(_lost(waiting), key=attrgetter("published_at")) if waiting else []
    return _publish_all(lost[: conf.get("BATCH")])


def _waited_long() -> Q:
    """Published so long ago that the message may be lost.

    Each publish that no attempt has followed doubles the wait. `attempt` counts the others.
    """
    shortest = timedelta(seconds=conf.get("REPUBLISH_AFTER"))
    waits = [
        Q(publishes__lte=F("attempt") + 1 + doubled, published_at__lte=_ago(shortest * 2**doubled))
        for doubled in range(DOUBLINGS)
    ]
    return reduce(or_, waits, Q(published_at__lte=_ago(shortest * 2**DOUBLINGS)))


def _ago(time: timedelta) -> Any:
    return DatabaseNow() - time


def _lost(waiting: Iterable[Operation]) -> Iterator[Operation]:
    # Celery's routers take longer than all the rest: they are asked once for all rows of a lane.
    lane_of = cache(_lane)
    claimed, served = _last_claimed(), queues.served()
    by_queue: dict[str, list[tuple[Operation, Lane]]] = {}
    for row in waiting:
        lane = lane_of(row.kind, row.queue, row.priority)
        if lane[0] != routing.UNKNOWN:
            by_queue.setdefault(lane[0].queue, []).append((row, lane))
    # The queue of an exchange is unknown, and its name ''.
    for queue, rows in by_queue.items():
        if queue and queue not in served:
            continue
        others = []
        for row, lane in rows:
            if _is_overtaken(row, claimed.get(lane)):
                yield row
            else:
                others.append(row)
        if queue and served[queue]:
            yield from _missing(queue, others)


def _missing(queue: str, rows: list[Operation]) -> list[Operation]:
    """The oldest rows: as many as messages are missing. None if the broker cannot count."""
    flowing = cache(_is_flowing)
    rows = [row for row in rows if not flowing(row.kind)]
    count = broker.count(queue) if rows else None
    return [] if count is None else rows[: max(0, len(rows) - count)]


def _is_flowing(kind: str) -> bool:
    """Whether workers may hold messages of a kind back because of its rate limit.

    The broker does not count such messages. If two starts in a row did not happen, there are none.
    """
    interval = routing.seconds_between_starts(kind)
    if not interval:
        return False
    since = _ago(timedelta(seconds=max(2 * interval, conf.get("REPUBLISH_AFTER"))))
    of_kind = Operation.objects.filter(kind=kind)
    started = of_kind.active().filter(started_at__gte=since)
    return bool(started.exists() or of_kind.filter(finished_at__gte=since).exists())


def _last_claimed() -> dict[Lane, datetime]:
    """For each lane, when the youngest message was published that a worker has claimed.

    Operations with two messages are left out: nobody knows which message was claimed.
    """
    claimed = Operation.objects.active().filter(publishes=1, published_at__isnull=False).order_by()
    published: dict[Lane, datetime] = {}
    for row in claimed.values(*LANE_FIELDS).annotate(at=Max("published_at")):
        lane = _lane(row["kind"], row["queue"], row["priority"])
        published[lane] = max(row["at"], published.get(lane, row["at"]))
    return published


def _is_overtaken(row: Operation, claimed_at: datetime | None) -> bool:
    """Whether a message of the lane was claimed that was published long after the row's message."""
    if row.published_at is None or claimed_at is None:
        return False
    return row.published_at <= claimed_at - timedelta(seconds=conf.get("REPUBLISH_AFTER"))


def _lane(kind: str, queue: str, priority: int | None) -> Lane:
    has_limit = routing.seconds_between_starts(kind) > 0
    route = routing.route_or_unknown(kind, queue=queue, priority=priority)
    return route, kind if has_limit else ""


def _publish_all(operations: Iterable[Operation]) -> int:
    published = 0
    for operation in operations:
        if breaker.is_open:
            break
        if lifecycle.reserve(operation) and _publish_reserved(operation):
            _log_published(operation)
            published += 1
    return published


def _log_published(operation: Operation) -> None:
    logger.event("published", operation, publishes=operation.publishes)


def _publish_reserved(operation: Operation) -> bool:
    """Send the message of an operation whose row already says that it was published."""
    try:
        with traces.tracer.publish(operation):
            broker.send(operation)
    except Exception as error:  # noqa: BLE001 each transport has errors of its own
        is_down = isinstance(error, broker.DOWN_ERRORS)
        if is_down:
            breaker.trip()
        # An operation that fails by itself must not come first in every batch.
        delay = 0 if is_down else _pause_seconds(operation.publishes)
        logger.event(
            "not_published",
            operation,
            level=logging.WARNING,
            remedy=", the relay will publish it",
            delay=delay,
            reason=str(error) or repr(error),
        )
        lifecycle.hand_back(operation, delay=delay)
        operation.published_at = None
        return False
    breaker.reset()
    return True


def _pause_seconds(publishes: int) -> float:
    """The pause before the next try of a message that the broker refuses. It doubles each time."""
    return float(min(2 ** min(publishes, 6), MAX_PAUSE_SECONDS))


def hand_back(pk: UUID) -> None:
    """Have another worker publish the operation again, since this process is about to end."""
    operation = Operation.objects.only("publishes", "attempt").filter(pk=pk).first()
    if operation is not None:
        lifecycle.hand_back(operation)
