"""Celery's broker, for submits and relay: sends messages, and counts them.

Nobody who asks waits for longer than `PUBLISH_TIMEOUT`.
"""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from celery import current_app
from kombu import Producer
from kombu.exceptions import LimitExceeded
from kombu.exceptions import OperationalError as KombuOperationalError
from kombu.pools import PoolGroup
from kombu.transport import virtual

from async_reply import conf
from async_reply.logs import logger
from async_reply.models import Operation
from async_reply.publishing import routing

#: Errors that say that the broker is down; other errors are those of one kind or its queue.
DOWN = (KombuOperationalError, LimitExceeded, OSError)
#: Connections at a time where the project bounds none: a broker that hangs keeps a thread on each.
UNPOOLED = 10
NOT_FOUND = 404


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


def send(operation: Operation) -> None:
    """Send the message of an operation; it carries the id alone.

    Raises one of DOWN, or what the routes or the broker have against this message.
    """
    until = time.monotonic() + conf.get("PUBLISH_TIMEOUT")
    kind = operation.kind
    if current_app.conf.task_always_eager:
        current_app.tasks[kind].apply(task_id=str(operation.pk), throw=False)
        return
    declared = routing.options_of(kind)
    routed = routing.routed(kind, queue=operation.queue, priority=operation.priority)
    router: Any = _Routed(routed)
    current_app.send_task(
        kind,
        args=(),
        kwargs={},
        task_id=str(operation.pk),
        task_type=current_app.tasks.get(kind),
        producer=_BoundedProducer(_connection(), until=until),
        router=router,
        ignore_result=True,
        retry=True,
        # One more try at once: the first finds out that a pooled connection is stale.
        retry_policy={"max_retries": 1, "interval_start": 0, "interval_max": 0},
        **{name: declared[name] for name in routing.UNROUTED & declared.keys()},
    )


def count(queue: str) -> int | None:
    """How many messages wait in `queue`, as the broker counts; None where it cannot say."""
    if breaker.is_open:
        return None
    until = time.monotonic() + conf.get("PUBLISH_TIMEOUT")
    try:
        messages: int | None = _within(until, _connection(), lambda it: _size(it, queue))
    except Exception as error:  # noqa: BLE001 brokers fail in as many ways as there are
        logger.info("Queue %s not counted: %s", queue, error)
        if isinstance(error, DOWN):
            breaker.trip()
        return None
    return messages


def _size(connection: Any, queue: str) -> int | None:
    channel = connection.default_channel
    if isinstance(channel, virtual.Channel):
        # Not by queue_declare, which asks Redis for a key without its prefix, and then takes the
        # queue for one that does not exist. What does not exist has the size 0.
        size = channel._size(queue)  # noqa: SLF001 each transport's own way to count
        return int(size) if _counts(channel) and size >= 0 else None
    try:
        return int(channel.queue_declare(queue, passive=True).message_count)
    except connection.channel_errors as error:
        if getattr(error, "reply_code", None) == NOT_FOUND:
            return 0
        raise


def _counts(channel: Any) -> bool:
    """Whether a transport counts; the size that kombu gives those that do not is always 0."""
    is_written = type(channel)._size is not virtual.AbstractChannel._size  # noqa: SLF001
    return is_written and bool(getattr(channel, "calc_queue_size", True))


class _Routed:
    """Tells `send_task` what the routes have said: a router is asked once for a message."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options

    def route(self, options: Mapping[str, Any], *_args: Any) -> dict[str, Any]:
        return {**self._options, **options}


class _BoundedProducer(Producer):
    """Publishes over a pooled connection, until a moment of the monotonic clock.

    Celery asks it for the errors of its transport; its own connection stays closed.
    """

    def __init__(self, connection: Any, *, until: float) -> None:
        super().__init__(connection)
        self._until = until

    def publish(self, *args: Any, **kwargs: Any) -> Any:
        """Raises TimeoutError when the moment has come."""
        return _within(
            self._until, self.__connection__, lambda it: Producer(it).publish(*args, **kwargs)
        )


class _Pools(PoolGroup):
    """By what is said of a connection.

    Not among kombu's own: those are the project's, and kombu sets their limit when the project
    first uses them, which fails while one of them is in use.
    """

    def create(self, resource: Any, limit: int | None) -> Any:
        return resource.Pool(limit=limit)


_pools: Any = _Pools()
_opening = threading.Lock()


def _within(until: float, connection: Any, ask: Callable[[Any], Any]) -> Any:
    """What `ask` returns of a pooled connection like `connection`; TimeoutError after `until`.

    In a thread of its own: looking up a name, a handshake, Sentinel, the lock of a file system and
    closing a connection have waits that no option of a transport bounds. A thread that is late
    keeps its connection for as long as it waits.
    """
    limit = current_app.conf.broker_pool_limit or 0
    with _opening:
        _pools.limit = limit or UNPOOLED
        pool = _pools[connection]
    pooled = pool.acquire(block=True, timeout=max(0.0, until - time.monotonic()))
    answer: Future[Any] = Future()
    thread = threading.Thread(
        target=_answer,
        args=(answer, pooled, ask),
        kwargs={"keep": limit > 0},
        name="async_reply-broker",
        daemon=True,
    )
    try:
        thread.start()
    except RuntimeError:
        pooled.release()
        raise
    return answer.result(max(0.0, until - time.monotonic()))


def _answer(answer: "Future[Any]", pooled: Any, ask: Callable[[Any], Any], *, keep: bool) -> None:
    """Ask, and give the connection back: closed after an error, or where none is to be kept."""
    try:
        result = ask(pooled)
    except BaseException as error:  # noqa: BLE001 raised where the answer is awaited
        keep = False
        answer.set_exception(error)
    else:
        if keep:
            # Before its asker goes on, who would else open another one.
            pooled.release()
        answer.set_result(result)
    if not keep:
        with suppress(Exception):
            pooled._close()  # noqa: SLF001 close() would give it back open
        pooled.release()


def _connection() -> Any:
    """A connection that is not open yet, and whose transport ends most of its waits by itself.

    A thread that is late then is so for a moment only. A publish makes two tries at most.
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
