"""Publishing: an operation's row is its own outbox, Celery's message carries the id alone."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import cache, reduce
from operator import attrgetter, or_
from typing import Any, TypeAlias
from uuid import UUID

from django.db import transaction
from django.db.models import F, Max, Q

from async_reply import conf, lifecycle
from async_reply.database import alias
from async_reply.database.clock import DatabaseNow
from async_reply.logs import logger
from async_reply.models import Operation
from async_reply.publishing import broker, queues, routing
from async_reply.publishing.broker import breaker
from async_reply.publishing.routing import Route

FIELDS = ("id", "kind", "status", "attempt", "publishes", "queue", "priority")
LINE = ("queue", "kind", "priority")
LONGEST_PAUSE = 60
#: How often the wait for a message doubles: with the default of `REPUBLISH_AFTER`, to 320 seconds.
DOUBLINGS = 5
#: What overtakes what: a route, and of kinds with a rate limit of their own the kind as well.
Lane: TypeAlias = tuple[Route, str]


def publish_on_commit(operation: Operation) -> None:
    """Publish once the transaction has committed; a failure is left to the relay."""
    # A partial has no name for what Django logs when it fails, and would raise where it must not.
    transaction.on_commit(lambda: _publish_first(operation), using=alias(), robust=True)


def _publish_first(operation: Operation) -> None:
    """A transaction that submits many waits for a broker that is down with the first only."""
    if breaker.is_open:
        lifecycle.unreserve(operation)
    else:
        _publish_reserved(operation)


def publish_due() -> int:
    """One turn of the relay: publish what is due and unpublished; how many were."""
    due = Operation.objects.due().unpublished().order_by("available_at").only(*FIELDS)
    return _publish_all(list(due[: conf.get("BATCH")]))


def republish_lost() -> int:
    """Publish again what the broker must have lost, oldest first, a batch at most; how many.

    A message is lost when it was overtaken, or when a worker that reads its queue has a process to
    spare and the broker counts fewer messages than operations wait. "Unclaimed for long" alone
    would flood the broker under any backlog. What no living worker reads is left as it is.
    """
    if breaker.is_open:
        return 0
    due = Operation.objects.due().filter(_waited())
    waiting = queues.oldest(due, *FIELDS, "published_at")
    lost = sorted(_lost(waiting), key=attrgetter("published_at")) if waiting else []
    return _publish_all(lost[: conf.get("BATCH")])


def _waited() -> Q:
    """Published for so long that the message may be lost: each publish doubles the wait.

    Publishes that an attempt has followed do not count, of which there are `attempt`.
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
    claimed, served = _last_claimed(), queues.served()
    for queue, rows in _by_queue(waiting).items():
        if queue and queue not in served:
            continue
        overtaken = [row for row in rows if _is_overtaken(row, claimed)]
        yield from overtaken
        if queue and served[queue]:
            yield from _missing(queue, [row for row in rows if row not in overtaken])


def _by_queue(waiting: Iterable[Operation]) -> dict[str, list[Operation]]:
    """By '' what goes to no queue that is known; without what the routes fail for."""
    rows: dict[str, list[Operation]] = {}
    for row in waiting:
        route = _route(row.kind, row.queue, row.priority)
        if route != routing.UNKNOWN:
            rows.setdefault(route.queue, []).append(row)
    return rows


def _missing(queue: str, rows: list[Operation]) -> list[Operation]:
    """As many as the broker has fewer messages of, the oldest; none where it cannot say."""
    flowing = cache(_is_flowing)
    rows = [row for row in rows if not flowing(row.kind)]
    count = broker.count(queue) if rows else None
    return [] if count is None else rows[: max(0, len(rows) - count)]


def _is_flowing(kind: str) -> bool:
    """Whether a rate limit makes messages of a kind wait in workers, where no broker counts them.

    One starts each time that the limit allows. When none did twice in turn, there is none.
    """
    interval = routing.interval(kind)
    if not interval:
        return False
    since = _ago(timedelta(seconds=max(2 * interval, conf.get("REPUBLISH_AFTER"))))
    of_kind = Operation.objects.filter(kind=kind)
    started = of_kind.active().filter(started_at__gte=since)
    return bool(started.exists() or of_kind.filter(finished_at__gte=since).exists())


def _last_claimed() -> dict[Lane, datetime]:
    """When, of the messages in each lane that workers have claimed, the youngest was published.

    Of what was published twice nobody knows which message was claimed.
    """
    claimed = Operation.objects.active().filter(publishes=1, published_at__isnull=False).order_by()
    found: dict[Lane, datetime] = {}
    for line in claimed.values(*LINE).annotate(at=Max("published_at")):
        lane = _lane(line["kind"], line["queue"], line["priority"])
        found[lane] = max(line["at"], found.get(lane, line["at"]))
    return found


def _is_overtaken(row: Operation, claimed: Mapping[Lane, datetime]) -> bool:
    overtaken_at = claimed.get(_lane(row.kind, row.queue, row.priority))
    if row.published_at is None or overtaken_at is None:
        return False
    return row.published_at <= overtaken_at - timedelta(seconds=conf.get("REPUBLISH_AFTER"))


def _lane(kind: str, queue: str, priority: int | None) -> Lane:
    """A backlog is not overtaken by a higher priority, nor by what no rate limit holds up."""
    return _route(kind, queue, priority), kind if routing.interval(kind) else ""


def _route(kind: str, queue: str, priority: int | None) -> Route:
    return routing.route_or_unknown(kind, queue=queue, priority=priority)


def _publish_all(operations: Iterable[Operation]) -> int:
    published = 0
    for operation in operations:
        if breaker.is_open:
            break
        if lifecycle.reserve(operation):
            published += _publish_reserved(operation)
    return published


def _publish_reserved(operation: Operation) -> bool:
    """Send the message of an operation whose row already says that it was published."""
    try:
        broker.send(operation)
    except Exception as error:  # noqa: BLE001 brokers fail in as many ways as there are
        is_down = isinstance(error, broker.DOWN)
        if is_down:
            breaker.trip()
        logger.warning(
            "Operation id=%s kind=%s not published, the relay will: %s",
            operation.pk,
            operation.kind,
            error or repr(error),
        )
        # What fails by itself must not stand before all others at each turn.
        lifecycle.unreserve(operation, delay=0 if is_down else _pause(operation.publishes))
        return False
    breaker.reset()
    return True


def _pause(publishes: int) -> float:
    """Seconds until a message is tried again that the broker does not take: doubling."""
    return float(min(2 ** min(publishes, 6), LONGEST_PAUSE))


def hand_back(pk: UUID) -> None:
    """Have the message published again by another worker, since this one is about to end."""
    operation = Operation.objects.only("publishes", "attempt").filter(pk=pk).first()
    if operation is not None:
        lifecycle.unreserve(operation)
