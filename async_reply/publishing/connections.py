"""Keeps open connections to the broker, and ends each call over them at its deadline."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from celery import current_app
from kombu import Producer
from kombu.pools import PoolGroup

from async_reply import conf
from async_reply.publishing import configuration

#: The most open connections if `broker_pool_limit` sets no limit. A broker that hangs keeps one
#: thread for each of them.
MAX_CONNECTIONS = 10
#: The attribute of a channel that holds its producer.
PRODUCER = "async_reply_producer"


class BoundedProducer(Producer):
    """Publishes over a pooled connection, and gives up at `deadline` of the monotonic clock.

    Its own connection stays closed. Celery needs it for the errors of its transport.
    """

    def __init__(self, connection: Any, *, deadline: float) -> None:
        super().__init__(connection)
        self._deadline = deadline
        #: The bodies and options that were published.
        self.calls: list[tuple[Any, dict[str, Any]]] = []

    def publish(self, body: Any, *args: Any, **options: Any) -> None:
        """Raises TimeoutError at the deadline."""
        # Producer adds header fields.
        self.calls.append((body, {**options, "headers": dict(options.get("headers") or {})}))
        publish(self.__connection__, self._deadline, (body, *args), options)


def publish(connection: Any, deadline: float, args: Any, options: dict[str, Any]) -> None:
    """Do as `Producer.publish`, over a pooled connection. Raises TimeoutError at the deadline.

    AMQP limits each wait over an open connection, so this thread publishes: a thread for it takes a
    twentieth of a submit. A connection that turns out to be stale goes to a thread.
    """
    pooled = acquire(connection, deadline)
    if not (_keeps_connections() and _limits_waits(pooled)):
        return _publish_before(deadline, pooled, args, options)
    stale = pooled.connection_errors + pooled.channel_errors
    try:
        new = {"retry": False, "declare": _undeclared(pooled, options.get("declare") or ())}
        _producer(pooled).publish(*args, **{**options, **new})
    except stale:
        return _publish_before(deadline, pooled, args, options)
    except BaseException:
        # It may have been stopped in the middle of a message.
        _start(pooled, _discard, pooled)
        raise
    pooled.release()
    return None


def _producer(pooled: Any) -> Producer:
    """The producer of the connection's channel. To make one takes a hundredth of a submit."""
    channel = pooled.default_channel
    if PRODUCER not in vars(channel):
        setattr(channel, PRODUCER, Producer(channel))
    producer: Producer = getattr(channel, PRODUCER)
    return producer


def _undeclared(pooled: Any, entities: Sequence[Any]) -> list[Any]:
    """The queues and exchanges that were not declared over this connection.

    The producer knows that, too, but it copies each of them before, which takes 3 % of a submit.
    """
    declared = pooled.declared_entities
    return [
        entity
        for entity in entities
        if not entity.can_cache_declaration or hash(entity) not in declared
    ]


def _publish_before(deadline: float, pooled: Any, args: Any, options: dict[str, Any]) -> None:
    call_before(deadline, pooled, lambda connection: Producer(connection).publish(*args, **options))


class _Pools(PoolGroup):
    """A pool of connections for each broker URL and its options.

    kombu has such pools, too, but those are the project's. kombu sets their limit when the project
    first uses them, and that fails while a connection of them is in use.
    """

    def create(self, resource: Any, limit: int | None) -> Any:
        copy = resource.clone()
        # Connections share this dict, transports write to it, and it is a part of the pool's key.
        copy.transport_options = dict(resource.transport_options)
        return copy.Pool(limit=limit)


_pools: Any = _Pools()
_opening = threading.Lock()
#: The configuration of the last connection, and this connection.
_template: tuple[tuple[Any, ...], Any] | None = None


def acquire(connection: Any, deadline: float) -> Any:
    """A pooled connection like `connection`. Raises LimitExceeded at the deadline."""
    with _opening:
        _pools.limit = configuration.current().pool_limit or MAX_CONNECTIONS
        pool = _pools[connection]
    return pool.acquire(block=True, timeout=max(0.0, deadline - time.monotonic()))


def call_before(deadline: float, pooled: Any, function: Callable[[Any], Any]) -> Any:
    """Call `function` with a pooled connection, release the connection, and return the result.

    Raises TimeoutError at the deadline. The call has a thread of its own, since no option of a
    transport limits how long it looks up a name, shakes hands, asks Sentinel, waits for the lock of
    a file system or closes a connection. A late thread keeps its connection until it ends.
    """
    result: Future[Any] = Future()
    _start(pooled, _call, result, pooled, function)
    return result.result(max(0.0, deadline - time.monotonic()))


def _start(pooled: Any, target: Callable[..., None], *args: Any) -> None:
    thread = threading.Thread(target=target, args=args, name="async_reply-broker", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        pooled.release()
        raise


def _call(result: "Future[Any]", pooled: Any, function: Callable[[Any], Any]) -> None:
    """Call `function`, then release the connection, which an error closes."""
    keep = _keeps_connections()
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
        _discard(pooled)


def _discard(pooled: Any) -> None:
    """Close the connection and release it. A broker that hangs lets the close wait, too."""
    with suppress(Exception):
        pooled._close()  # noqa: SLF001 close() would give it back open
    pooled.release()


def _keeps_connections() -> bool:
    return bool(configuration.current().pool_limit)


def _limits_waits(pooled: Any) -> bool:
    return pooled.transport.driver_type == "amqp" and bool(pooled.connected)


def connection() -> Any:
    """A connection that stays closed: pools copy it. A new one only if the configuration changed.

    Making one takes a tenth of a submit, since kombu searches the disk for its transports.
    """
    global _template
    timeout = conf.get("PUBLISH_TIMEOUT")
    celery = configuration.current()
    key = celery.app, timeout, celery.broker
    if _template is None or _template[0] != key:
        _template = key, _new_connection(wait=timeout / 2)
    return _template[1]


def _new_connection(*, wait: float) -> Any:
    """A connection whose transport gives up most waits by itself after `wait` seconds.

    The thread of a call is then late for a moment only. A publish makes two tries at most, so each
    wait gets half of the time.
    """
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
