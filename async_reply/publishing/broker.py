"""Sends messages to Celery's broker and counts messages there, for submits and for the relay.

A call takes no longer than `PUBLISH_TIMEOUT`.
"""

import threading
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from celery import current_app
from django.utils import timezone
from kombu.exceptions import LimitExceeded
from kombu.exceptions import OperationalError as KombuOperationalError
from kombu.transport import virtual

from async_reply import conf
from async_reply.logs import logger
from async_reply.models import Operation
from async_reply.publishing import configuration, connections, prepared, routing

#: These errors mean that the broker is down. Other errors concern one kind or its queue only.
DOWN_ERRORS = (KombuOperationalError, LimitExceeded, OSError)
#: A failure is forgotten after this time. While messages wait, workers try again each few seconds.
FAILURE_SECONDS = 60.0
#: AMQP's reply code for a queue that does not exist.
NOT_FOUND = 404


class Breaker:
    """Remembers for a few seconds that the broker is down. Submits do not wait for it then."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open_until = 0.0
        self._failed_at = float("-inf")
        self._down_since: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether the broker failed a short time ago. Publishing would only wait."""
        return time.monotonic() < self._open_until

    @property
    def down_since(self) -> datetime | None:
        """The first of the failures in a row; None if the last one was a minute ago."""
        return self._down_since if self._is_failing() else None

    def trip(self) -> None:
        with self._lock:
            if not self._is_failing():
                self._down_since = timezone.now()
            self._failed_at = time.monotonic()
            self._open_until = self._failed_at + conf.get("BREAKER")

    def reset(self) -> None:
        with self._lock:
            self._open_until, self._failed_at = 0.0, float("-inf")

    def _is_failing(self) -> bool:
        return time.monotonic() < self._failed_at + FAILURE_SECONDS


breaker = Breaker()


def send(operation: Operation) -> None:
    """Send the message of an operation. It carries the id and nothing else.

    Raises one of DOWN_ERRORS, or the error by which a router or the broker refuses this message.
    """
    deadline = time.monotonic() + conf.get("PUBLISH_TIMEOUT")
    kind, pk, celery = operation.kind, str(operation.pk), configuration.current()
    if celery.is_eager:
        current_app.tasks[kind].apply(task_id=pk, throw=False)
        return
    address = kind, operation.queue, operation.priority
    circumstances = prepared.circumstances(celery, kind)
    message = prepared.find(address, circumstances)
    connection, reply_to = connections.connection(), celery.app.thread_oid
    if message is not None:
        with connection._reraise_as_library_errors():  # noqa: SLF001 as Celery does it
            options = message.options_for(pk, reply_to)
            connections.publish(connection, deadline, (message.body,), options)
        return
    producer = connections.BoundedProducer(connection, deadline=deadline)
    _send_by_celery(operation, producer)
    prepared.learn(address, circumstances, producer.calls, pk=pk, reply_to=reply_to)


def _send_by_celery(operation: Operation, producer: connections.BoundedProducer) -> None:
    kind = operation.kind
    declared = routing.declared_options(kind)
    options = routing.routed_options(kind, queue=operation.queue, priority=operation.priority)
    router: Any = _FixedRouter(options)
    current_app.send_task(
        kind,
        args=(),
        kwargs={},
        task_id=str(operation.pk),
        task_type=current_app.tasks.get(kind),
        producer=producer,
        router=router,
        ignore_result=True,
        retry=True,
        # The first try may find that a pooled connection is stale. The second follows at once.
        retry_policy={"max_retries": 1, "interval_start": 0, "interval_max": 0},
        **{name: declared[name] for name in routing.UNROUTED_OPTIONS & declared.keys()},
    )


def count(queue: str) -> int | None:
    """How many messages the broker counts in `queue`; None if the broker cannot tell."""
    if breaker.is_open:
        return None
    deadline = time.monotonic() + conf.get("PUBLISH_TIMEOUT")
    try:
        pooled = connections.acquire(connections.connection(), deadline)
        messages: int | None = connections.call_before(
            deadline, pooled, lambda connection: _size(connection, queue)
        )
    except Exception as error:  # noqa: BLE001 each transport has errors of its own
        logger.info("Queue %s not counted: %s", queue, error)
        if isinstance(error, DOWN_ERRORS):
            breaker.trip()
        return None
    return messages


def answers() -> bool:
    """Whether the broker answers. Asks even if a publish has failed a short time ago."""
    deadline = time.monotonic() + conf.get("PUBLISH_TIMEOUT")
    try:
        pooled = connections.acquire(connections.connection(), deadline)
        connections.call_before(deadline, pooled, lambda opened: opened.channel().close())
    except Exception as error:  # noqa: BLE001 each transport has errors of its own
        logger.info("The broker does not answer: %s", str(error) or repr(error))
        return False
    return True


def _size(connection: Any, queue: str) -> int | None:
    channel = connection.default_channel
    if isinstance(channel, virtual.Channel):
        # queue_declare asks Redis for a key without its prefix, and would say that the queue does
        # not exist. The size of a queue that does not exist is 0.
        size = channel._size(queue)  # noqa: SLF001 the only method by which transports count
        return int(size) if _can_count(channel) and size >= 0 else None
    try:
        return int(channel.queue_declare(queue, passive=True).message_count)
    except connection.channel_errors as error:
        if getattr(error, "reply_code", None) == NOT_FOUND:
            return 0
        raise


def _can_count(channel: Any) -> bool:
    """Whether a transport can count. Otherwise kombu answers 0 for each queue."""
    is_implemented = type(channel)._size is not virtual.AbstractChannel._size  # noqa: SLF001
    return is_implemented and bool(getattr(channel, "calc_queue_size", True))


class _FixedRouter:
    """Gives `send_task` options that are routed already, so that routers are asked only once."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options

    def route(self, options: Mapping[str, Any], *_args: Any) -> dict[str, Any]:
        return {**self._options, **options}
