"""A copy of a message is the message that Celery would have made, on each broker."""

import os
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import pytest
from amqp import RecoverableConnectionError
from celery import Celery, current_app, signals
from celery.app.amqp import AMQP
from celery.app.routes import Router

from async_reply.models import Operation
from async_reply.publishing import broker, connections, prepared
from tests.conftest import configure_celery, need_service
from tests.project.tasks import echo
from tests.publishing import brokers
from tests.publishing.brokers import route, send, use, use_memory, use_redis

#: Options of a task's declaration that are in its messages.
OPTIONS: list[dict[str, Any]] = [
    {},
    {"compression": "gzip"},
    {"serializer": "pickle"},
    {"priority": 3},
    {"delivery_mode": 1},
    {"time_limit": 7, "soft_time_limit": 5},
    {"mandatory": False, "immediate": False},
]


@pytest.fixture(params=["memory", "file", "redis", "rabbitmq"])
def queue(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[str]:
    """The name of a queue of a broker."""
    match request.param:
        case "memory":
            use_memory(monkeypatch)
        case "file":
            folders = dict.fromkeys(("data_folder_in", "data_folder_out"), str(tmp_path))
            options = {**folders, "control_folder": str(tmp_path / "control")}
            use(monkeypatch, "filesystem://", broker_transport_options=options)
        case "redis":
            need_service("Redis", port=6379)
            use_redis(monkeypatch)
        case "rabbitmq":
            need_service("RabbitMQ", port=5672)
            use(monkeypatch, brokers.AMQP)
    name = f"async-reply-test-{uuid4()}"
    yield name
    with connections.connection().clone() as connection:
        connection.default_channel.queue_delete(name)


@pytest.fixture
def by_celery(monkeypatch: pytest.MonkeyPatch) -> list[Operation]:
    """The operations whose messages Celery has made."""
    sent: list[Operation] = []
    send_by_celery = broker._send_by_celery

    def noting(operation: Operation, producer: Any) -> None:
        sent.append(operation)
        send_by_celery(operation, producer)

    monkeypatch.setattr(broker, "_send_by_celery", noting)
    return sent


def take(queue: str) -> dict[str, Any]:
    """All that is in the message, without what the broker adds to tell messages apart."""
    with connections.connection().clone() as connection:
        message = connection.default_channel.basic_get(queue, no_ack=True)
    address = {name: message.delivery_info[name] for name in ("exchange", "routing_key")}
    properties = dict(message.properties)
    for name in ("delivery_tag", "delivery_info"):
        properties.pop(name, None)
    forms = message.content_type, message.content_encoding
    parts = {"headers": message.headers, "properties": properties, "body": message.body}
    return {**parts, "address": address, "forms": forms}


def send_new(queue: str, **fields: Any) -> dict[str, Any]:
    send(Operation(kind=echo.name, queue=queue, **fields))
    return take(queue)


def is_copied(queue: str, by_celery: list[Operation], **fields: Any) -> bool:
    """Whether the fourth message for a queue is a copy, although nothing has changed before."""
    for _ in range(3):
        send_new(queue, **fields)
    by_celery.clear()
    send_new(queue, **fields)
    return not by_celery


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "none")
def test_copy__is_the_message_that_celery_makes(
    monkeypatch: pytest.MonkeyPatch, queue: str, by_celery: list[Operation], options: dict[str, Any]
) -> None:
    for name, value in options.items():
        monkeypatch.setattr(echo, name, value, raising=False)
    assert is_copied(queue, by_celery)
    operation = Operation(kind=echo.name, queue=queue)
    send(operation)
    copy = take(queue)
    assert by_celery == []
    monkeypatch.setattr(prepared, "find", lambda *_args: None)
    send(operation)
    assert copy == take(queue)
    assert len(by_celery) == 1


def test_copy__has_the_priority_of_its_operation(queue: str, by_celery: list[Operation]) -> None:
    for priority in (0, 9):
        assert is_copied(queue, by_celery, priority=priority)
        send(Operation(kind=echo.name, queue=queue, priority=priority))
        with connections.connection().clone() as connection:
            message = connection.default_channel.basic_get(queue, no_ack=True)
        assert message.properties["priority"] == priority


def test_copy__follows_routes_with_an_exchange(
    monkeypatch: pytest.MonkeyPatch, by_celery: list[Operation]
) -> None:
    way = brokers.WAYS["rabbitmq-topic"]
    with brokers.queue_of(echo.name, way, monkeypatch) as bound:
        for _ in range(3):
            send(Operation(kind=echo.name))
        assert len(by_celery) == 2
        messages = [take(bound.name) for _ in range(3)]
    assert messages[0]["address"]["exchange"].startswith("exchange-")
    assert messages[0]["address"] == messages[2]["address"]


def test_copy__over_a_stale_connection_arrives(
    monkeypatch: pytest.MonkeyPatch, by_celery: list[Operation]
) -> None:
    with brokers.queue_of(echo.name, brokers.WAYS["rabbitmq-queue"], monkeypatch) as queue:
        for _ in range(2):
            send(Operation(kind=echo.name))
        for pool in connections._pools.values():
            for pooled in pool._resource.queue:
                if not callable(pooled) and pooled.connected:
                    pooled.connection.transport.sock.close()
        send(Operation(kind=echo.name))
        declared: Any = queue.queue_declare(passive=True)
        assert declared.message_count == 3
    assert len(by_celery) == 2


def test_copy__that_fails_says_that_the_broker_is_down(
    monkeypatch: pytest.MonkeyPatch, by_celery: list[Operation]
) -> None:
    """AMQP has errors that are no OSError. They are converted, as Celery does it."""
    with brokers.queue_of(echo.name, brokers.WAYS["rabbitmq-queue"], monkeypatch):
        for _ in range(2):
            send(Operation(kind=echo.name))

        def fail(*_args: Any) -> None:
            raise RecoverableConnectionError("gone")

        monkeypatch.setattr(connections, "publish", fail)
        with pytest.raises(broker.DOWN_ERRORS):
            send(Operation(kind=echo.name))
    assert len(by_celery) == 2


def test_copy__has_the_reply_to_of_its_thread(
    monkeypatch: pytest.MonkeyPatch, by_celery: list[Operation]
) -> None:
    use_memory(monkeypatch)
    queue = f"memory-{uuid4()}"
    assert is_copied(queue, by_celery)
    oids: list[str] = []

    def send_here() -> None:
        oids.append(current_app.thread_oid)
        send(Operation(kind=echo.name, queue=queue))

    thread = Thread(target=send_here)
    thread.start()
    thread.join()
    assert take(queue)["properties"]["reply_to"] == oids[0] != current_app.thread_oid
    assert by_celery == []


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch, by_celery: list[Operation]) -> str:
    """A queue for which messages are copied."""
    use_memory(monkeypatch)
    queue = f"memory-{uuid4()}"
    assert is_copied(queue, by_celery)
    return queue


def change_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_celery(monkeypatch, task_default_priority=4)


def change_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    route(monkeypatch, [{echo.name: {"priority": 5}}])


def change_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(echo, "compression", "gzip", raising=False)


def change_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 4711)


@pytest.mark.parametrize("change", [change_setting, change_routes, change_option, change_process])
def test_copy__is_learned_anew_after_a_change(
    monkeypatch: pytest.MonkeyPatch, learned: str, by_celery: list[Operation], change: Any
) -> None:
    change(monkeypatch)
    send_new(learned)
    assert len(by_celery) == 1
    assert is_copied(learned, by_celery)


def connect_before(monkeypatch: pytest.MonkeyPatch) -> None:
    _connect(monkeypatch, signals.before_task_publish)


def connect_after(monkeypatch: pytest.MonkeyPatch) -> None:
    _connect(monkeypatch, signals.after_task_publish)


def _connect(monkeypatch: pytest.MonkeyPatch, signal: Any) -> None:
    monkeypatch.setattr(signal, "receivers", list(signal.receivers or []))
    signal.connect(_hear, weak=False)


def _hear(**_kwargs: Any) -> None:
    """A receiver of the project."""


def route_by_function(monkeypatch: pytest.MonkeyPatch) -> None:
    route(monkeypatch, [lambda *args, **kwargs: {"priority": 1}])


def replace_router(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(Router):
        """A router of the project."""

    queues = current_app.amqp.queues
    monkeypatch.setitem(current_app.amqp.__dict__, "router", Own([], queues, app=current_app))


def replace_amqp(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(AMQP):
        """Makes messages of its own."""

    monkeypatch.setattr(current_app.amqp, "__class__", Own)


def wrap_send_task(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Celery.send_task

    def traced(*args: Any, **kwargs: Any) -> Any:
        return own(*args, **kwargs)

    monkeypatch.setattr(Celery, "send_task", traced)


def replace_send_task(monkeypatch: pytest.MonkeyPatch) -> None:
    app: Any = current_app
    monkeypatch.setattr(app._get_current_object(), "send_task", app.send_task, raising=False)


def send_events(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_celery(monkeypatch, task_send_sent_event=True)


def expire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(echo, "expires", 3600, raising=False)


def run_in_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Celery, "current_worker_task", _task_with_a_request())


def _task_with_a_request() -> Any:
    task: Any = type("Parent", (), {"add_trail": lambda *_args: None})()
    task.request = type("Request", (), {"root_id": "1", "id": "2", "delivery_info": {}})()
    return task


@pytest.mark.parametrize(
    "change",
    [
        connect_before,
        connect_after,
        route_by_function,
        replace_router,
        replace_amqp,
        wrap_send_task,
        replace_send_task,
        send_events,
        expire,
        run_in_a_task,
    ],
)
def test_copy__is_not_made_where_each_message_may_differ(
    monkeypatch: pytest.MonkeyPatch, learned: str, by_celery: list[Operation], change: Any
) -> None:
    change(monkeypatch)
    assert not is_copied(learned, by_celery)
