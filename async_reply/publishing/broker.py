"""Sends messages to Celery's broker and counts messages there, for submits and for the relay.

A call takes no longer than `PUBLISH_TIMEOUT`.
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

#: These errors mean that the broker is down. Other errors concern one kind or its queue only.
DOWN_ERRORS = (KombuOperationalError, LimitExceeded, OSError)
#: The most open connections if `broker_pool_limit` sets no limit. A broker that hangs keeps one
#: thread for each of them.
MAX_CONNECTIONS = 10
#: AMQP's reply code for a queue that does not exist.
NOT_FOUND = 404


class Breaker:
    """Remembers for a few seconds that the broker is down. Submits do not wait for it then."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the broker failed a short time ago. Publishing would only wait."""
        return time.monotonic() < self._open_until

    def trip(self) -> None:
        with self._lock:
            self._open_until = time.monotonic() + conf.get("BREAKER")

    def reset(self) -> None:
        with self._lock:
            self._open_until = 0.0


breaker = Breaker()


def send(operation: Operation) -> None:
    """Send the message of an operation. It carries the id and nothing else.

    Raises one of DOWN_ERRORS, or the error by which a router or the broker refuses this message.
    """
    deadline = time.monotonic() + conf.get("PUBLISH_TIMEOUT")
    kind = operation.kind
    if current_app.conf.task_always_eager:
        current_app.tasks[kind].apply(task_id=str(operation.pk), throw=False)
        return
    declared = routing.declared_options(kind)
    options = routing.routed_options(kind, queue=operation.queue, priority=operation.priority)
    router: Any = _FixedRouter(options)
    current_app.send_task(
        kind,
        args=(),
        kwargs={},
        task_id=str(operation.pk),
        task_type=current_app.tasks.get(kind),
        producer=_BoundedProducer(_connection(), deadline=deadline),
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
        messages: int | None = _call_before(
            deadline, _connection(), lambda connection: _size(connection, queue)
        )
    except Exception as error:  # noqa: BLE001 each transport has errors of its own
        logger.info("Queue %s not counted: %s", queue, error)
        if isinstance(error, DOWN_ERRORS):
            breaker.trip()
        return None
    return messages


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


class _BoundedProducer(Producer):
    """Publishes over a pooled connection, and gives up at `deadline` of the monotonic clock.

    Its own connection stays closed. Celery needs it for the errors of its transport.
    """

    def __init__(self, connection: Any, *, deadline: float) -> None:
        super().__init__(connection)
        self._deadline = deadline

    def publish(self, *args: Any, **kwargs: Any) -> Any:
        """Raises TimeoutError at the deadline."""
        return _call_before(
            self._deadline,
            self.__connection__,
            lambda connection: Producer(connection).publish(*args, **kwargs),
        )


class _Pools(PoolGroup):
    """A pool of connections for each broker URL and its options.

    kombu has such pools, too, but those are the project's. kombu sets their limit when the project
    first uses them, and that fails while a connection of them is in use.
    """

    def create(self, resource: Any, limit: int | None) -> Any:
        return resource.Pool(limit=limit)


_pools: Any = _Pools()
_opening = threading.Lock()


def _call_before(deadline: float, connection: Any, function: Callable[[Any], Any]) -> Any:
    """Call `function` with a pooled connection like `connection`, and return its result.

    Raises TimeoutError at the deadline. The call has a thread of its own, since no option of a
    transport limits how long it looks up a name, shakes hands, asks Sentinel, waits for the lock of
    a file system or closes a connection. A late thread keeps its connection until it ends.
    """
    limit = current_app.conf.broker_pool_limit or 0
    with _opening:
        _pools.limit = limit or MAX_CONNECTIONS
        pool = _pools[connection]
    pooled = pool.acquire(block=True, timeout=max(0.0, deadline - time.monotonic()))
    result: Future[Any] = Future()
    thread = threading.Thread(
        target=_call,
        args=(result, pooled, function),
        kwargs={"keep": limit > 0},
        name="async_reply-broker",
        daemon=True,
    )
    try:
        thread.start()
    except RuntimeError:
        pooled.release()
        raise
    return result.result(max(0.0, deadline - time.monotonic()))


def _call(
    result: "Future[Any]", pooled: Any, function: Callable[[Any], Any], *, keep: bool
) -> None:
    """Call `function`, then release the connection, closed after an error or without `keep`."""
    try:
        value = function(pooled)
    except BaseException as error:  # noqa: BLE001 raised in the thread that waits for the result
        keep = False
        result.set_exception(error)
    else:
        if keep:
            # The caller would open another connection if it went on before this.
            pooled.release()
        result.set_result(value)
    if not keep:
        with suppress(Exception):
            pooled._close()  # noqa: SLF001 close() would give it back open
        pooled.release()


def _connection() -> Any:
    """A connection that is not open yet. Its transport gives up most waits by itself.

    The thread of a call is then late for a moment only. A publish makes two tries at most, so each
    wait gets half of the time.
    """
    wait = conf.get("PUBLISH_TIMEOUT") / 2
    timeouts: dict[str, dict[str, Any]] = {
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
        **timeouts.get(connection.transport.driver_type, {}),
    )
    return connection
