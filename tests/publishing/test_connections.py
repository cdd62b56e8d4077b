"""Connections to the broker are kept, and publishing over an open one needs no thread."""

import threading
from typing import Any

import pytest
from kombu import Producer, Queue

from async_reply.models import Operation
from async_reply.publishing import connections
from tests.conftest import configure_celery, need_service
from tests.project.tasks import echo
from tests.publishing.brokers import AMQP, WAYS, queue_of, send, use_memory


def test_connection__is_made_anew_for_another_configuration(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    use_memory(monkeypatch)
    made = [connections.connection()]
    assert connections.connection() is made[0]
    configure_celery(monkeypatch, broker_transport_options={"polling_interval": 2})
    made.append(connections.connection())
    settings.ASYNC_REPLY = {"PUBLISH_TIMEOUT": 7}
    made.append(connections.connection())
    configure_celery(monkeypatch, broker_write_url="redis://127.0.0.1:1/7")
    made.append(connections.connection())
    assert len(set(map(id, made))) == len(made)
    assert made[1].transport_options["polling_interval"] == 2
    assert made[3].transport_options["socket_timeout"] == 3.5


def amqp_queue(monkeypatch: pytest.MonkeyPatch) -> Any:
    need_service("RabbitMQ", port=5672)
    way = next(way for way in WAYS.values() if way.url == AMQP)
    return queue_of(echo.name, way, monkeypatch)


def close_connections() -> None:
    """Close the sockets of the open connections, which do not know it."""
    (pool,) = [pool for pool in connections._pools.values() if pool._resource.queue]
    for pooled in pool._resource.queue:
        if not callable(pooled) and pooled.connected:
            pooled.connection.transport.sock.close()


def test_publish__over_an_open_connection_starts_no_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with amqp_queue(monkeypatch) as queue:
        send(Operation(kind=echo.name))
        monkeypatch.setattr(threading.Thread, "start", None)
        send(Operation(kind=echo.name))
        assert queue.queue_declare(passive=True).message_count == 2


def test_publish__over_a_stale_connection_connects_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    with amqp_queue(monkeypatch) as queue:
        send(Operation(kind=echo.name))
        close_connections()
        send(Operation(kind=echo.name))
        assert queue.queue_declare(passive=True).message_count == 2


def test_publish__declares_a_queue_once_over_each_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    declared: list[str] = []
    declare = Queue.declare

    def note(queue: Queue, *args: Any, **options: Any) -> Any:
        declared.append(queue.name)
        return declare(queue, *args, **options)

    with amqp_queue(monkeypatch) as queue:
        monkeypatch.setattr(Queue, "declare", note)
        for _ in range(4):
            send(Operation(kind=echo.name))
        assert declared == [queue.name]
        close_connections()
        for _ in range(2):
            send(Operation(kind=echo.name))
        assert declared == [queue.name] * 2
        assert queue.queue_declare(passive=True).message_count == 6


def test_publish__declares_a_queue_that_may_vanish_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with amqp_queue(monkeypatch) as queue:
        send(Operation(kind=echo.name))
        queue.delete()
        monkeypatch.setattr(Queue, "can_cache_declaration", False)
        send(Operation(kind=echo.name))
        assert queue.queue_declare(passive=True).message_count == 1


def test_publish__stopped_in_the_middle_gives_up_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An interrupt of the job that submits, for example, may come between two frames."""
    with amqp_queue(monkeypatch) as queue:
        send(Operation(kind=echo.name))
        used: list[Any] = []

        def stop(producer: Any, *args: Any, **options: Any) -> None:
            used.append(producer.channel.connection.client)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Producer, "publish", stop)
            with pytest.raises(KeyboardInterrupt):
                send(Operation(kind=echo.name))
        for thread in threading.enumerate():
            if thread.name == "async_reply-broker":
                thread.join()
        assert not used[0].connected
        send(Operation(kind=echo.name))
        assert queue.queue_declare(passive=True).message_count == 2
