"""Publishing: an operation's row is its own outbox, Celery's message carries the id alone."""

import threading
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeAlias
from uuid import UUID

from celery import current_app
from celery.exceptions import QueueNotFound
from django.db import transaction
from django.db.models import Max, Q
from kombu.exceptions import LimitExceeded
from kombu.exceptions import OperationalError as KombuOperationalError
from kombu.pools import producers
from kombu.serialization import registry  # type: ignore[attr-defined]  # the stubs lack it

from async_reply import conf, lifecycle, pools
from async_reply.clock import DatabaseNow
from async_reply.logs import logger
from async_reply.models import Operation, database

FIELDS = ("id", "kind", "status", "publishes", "queue", "priority")
LINE = ("queue", "kind", "priority")
Place: TypeAlias = tuple[str, int | None]
LONGEST_PAUSE = 60
#: What says that the broker is down; other errors are those of one kind or its queue.
DOWN = (KombuOperationalError, LimitExceeded, OSError)


class Breaker:
    """Remembers for a few seconds that the broker is down, so that submits do not wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed_from = 0.0

    @property
    def is_open(self) -> bool:
        """Whether publishing would only wait."""
        return time.monotonic() < self._closed_from

    def trip(self) -> None:
        with self._lock:
            self._closed_from = time.monotonic() + conf.get("BREAKER")

    def reset(self) -> None:
        with self._lock:
            self._closed_from = 0.0


breaker = Breaker()


def publish_on_commit(operation: Operation) -> None:
    """Publish once the transaction has committed; a failure is left to the relay."""
    # A partial has no name for what Django logs when it fails, and would raise where it must not.
    transaction.on_commit(lambda: _publish_first(operation), using=database(), robust=True)


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
    """Publish again what a broker must have lost: overtaken, or in a queue that is short.

    "Unclaimed for long" alone would flood the broker under any backlog.
    """
    if breaker.is_open:
        return 0
    age = timedelta(seconds=conf.get("REPUBLISH_AFTER"))
    waiting = Operation.objects.due().filter(published_at__lte=DatabaseNow() - age)
    claimed, is_short = _last_claimed(), cache(_is_short)
    lost = Q(pk__in=[])
    for line in waiting.order_by().values(*LINE).distinct():
        at = place(line)
        if is_short(at[0]):
            lost |= Q(**line)
        elif overtaken_since := claimed.get(at):
            lost |= Q(**line, published_at__lte=overtaken_since - age)
    rows = waiting.filter(lost).order_by("published_at").only(*FIELDS)
    return _publish_all(list(rows[: conf.get("BATCH")]))


def _last_claimed() -> dict[Place, datetime]:
    """When, of the messages in each place that workers have claimed, the youngest was published.

    Of what was published twice nobody knows which message was claimed, and a backlog is not
    overtaken by messages of a higher priority.
    """
    claimed = Operation.objects.active().filter(publishes=1, published_at__isnull=False).order_by()
    found: dict[Place, datetime] = {}
    for line in claimed.values(*LINE).annotate(at=Max("published_at")):
        at = place(line)
        found[at] = max(line["at"], found.get(at, line["at"]))
    return found


def place(line: Mapping[str, Any]) -> Place:
    """Queue and priority of an operation: its own, or what Celery's routes give its kind."""
    try:
        route = current_app.amqp.router.route({}, line["kind"])
    except QueueNotFound:
        route = {}
    routed = getattr(route.get("queue"), "name", current_app.conf.task_default_queue)
    priority = route.get("priority", current_app.conf.task_default_priority)
    return line["queue"] or routed, priority if line["priority"] is None else line["priority"]


def _is_short(queue: str) -> bool:
    """Whether the broker itself counts less than a batch; False where it cannot say."""
    if breaker.is_open:
        return False
    try:
        with _connection() as connection:
            count = connection.default_channel.queue_declare(queue, passive=True).message_count
    except Exception as error:  # noqa: BLE001 brokers fail in as many ways as there are
        # Redis knows no empty queue: what is not there holds nothing.
        if str(getattr(error, "reply_code", "")) == "404":
            return True
        logger.info("Queue %s not counted: %s", queue, error)
        if isinstance(error, DOWN):
            breaker.trip()
        return False
    return bool(count < conf.get("BATCH"))


def _publish_all(operations: list[Operation]) -> int:
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
        _send(operation)
    except Exception as error:  # noqa: BLE001 brokers fail in as many ways as there are
        is_down = isinstance(error, DOWN)
        if is_down:
            breaker.trip()
        logger.warning(
            "Operation id=%s kind=%s not published, the relay will: %s",
            operation.pk,
            operation.kind,
            error,
        )
        # What fails by itself must not stand before all others at each turn.
        lifecycle.unreserve(operation, delay=0 if is_down else _pause(operation.publishes))
        return False
    breaker.reset()
    return True


def _pause(publishes: int) -> float:
    """Seconds until a message is tried again that the broker does not take: doubling."""
    return float(min(2 ** min(publishes, 6), LONGEST_PAUSE))


def leave(pk: UUID) -> None:
    """Have the message published again by another worker, since this one is about to end."""
    operation = Operation.objects.only("publishes").filter(pk=pk).first()
    if operation is not None:
        lifecycle.unreserve(operation)


def _send(operation: Operation) -> None:
    if current_app.conf.task_always_eager:
        current_app.tasks[operation.kind].apply(task_id=str(operation.pk), throw=False)
        return
    options: dict[str, Any] = {}
    if operation.queue:
        options["queue"] = operation.queue
    _, priority = place({field: getattr(operation, field) for field in LINE})
    if priority is not None:
        options["priority"] = priority
    timeout = conf.get("PUBLISH_TIMEOUT")
    with producers[_connection()].acquire(block=True, timeout=timeout) as producer:
        current_app.send_task(
            operation.kind,
            task_id=str(operation.pk),
            producer=producer,
            ignore_result=True,
            retry=True,
            # One more try at once: the first finds out that a pooled connection is stale.
            retry_policy={"max_retries": 1, "interval_start": 0, "interval_max": 0},
            **options,
        )


def _connection() -> Any:
    """A connection whose every wait is bounded by half of `PUBLISH_TIMEOUT`.

    A publish makes two tries at most.
    """
    wait = conf.get("PUBLISH_TIMEOUT") / 2
    bounds: dict[str, dict[str, Any]] = {
        "redis": {"socket_timeout": wait, "socket_connect_timeout": wait},
        "amqp": {
            "confirm_publish": True,
            "confirm_timeout": wait,
            "read_timeout": wait,
            "write_timeout": wait,
        },
    }
    connection: Any = current_app.connection_for_write(connect_timeout=wait)
    connection.transport_options.update(
        max_retries=1,
        interval_start=0,
        interval_step=0,
        interval_max=0,
        **bounds.get(connection.transport.driver_type, {}),
    )
    return connection


def is_default_app() -> bool:
    """Whether Celery fell back on its own app, because the project's is not imported."""
    return current_app.main == "default"


def transport_problem() -> str:
    """Why the broker's transport cannot be loaded; '' if it can."""
    try:
        current_app.connection_for_write().transport  # noqa: B018 loads what it names
    except Exception as error:  # noqa: BLE001 whatever an import of it does
        return f"{type(error).__name__}: {error}"
    return ""


def uses_default_broker() -> bool:
    """Whether nothing says where the broker is: Celery then means RabbitMQ on this machine."""
    settings = current_app.conf
    return not (settings.broker_write_url or settings.broker_transport)


def accepts_pickle() -> bool:
    """None accepts whatever is known."""
    names, accepted = registry.type_to_name, current_app.conf.accept_content
    return accepted is None or any("pickle" in names.get(each, each) for each in accepted)


def unread_serializer() -> str:
    """How Celery writes messages, where no worker would read them; '' where workers do."""
    types, settings = registry.name_to_type, current_app.conf
    written = str(settings.task_serializer)
    if settings.accept_content is None:
        return ""
    read = {types.get(each, each) for each in settings.accept_content}
    return "" if types.get(written, written) in read else written


def pool() -> str:
    """The pool that Celery's settings name; workers may be told another."""
    return pools.name_of(current_app.conf.worker_pool)


def slow_settings() -> Iterator[tuple[str, str, int]]:
    """(text, hint, number of the check) of settings that cost time and break nothing."""
    # In a green thread nobody would use a connection a second time, and nobody close it.
    if pool() not in pools.GREEN and not current_app.conf.get("CELERY_DB_REUSE_MAX"):
        yield (
            "Celery opens a database connection for each task.",
            "Set CELERY_DB_REUSE_MAX = 1000: jobs then run about three times as fast.",
            1,
        )
    if current_app.conf.worker_prefetch_multiplier != 1:
        yield (
            "Workers reserve more messages than they run: jobs wait beside idle processes.",
            (
                "Set CELERY_WORKER_PREFETCH_MULTIPLIER = 1 (and on Redis "
                "CELERY_WORKER_DISABLE_PREFETCH = True)."
            ),
            2,
        )
