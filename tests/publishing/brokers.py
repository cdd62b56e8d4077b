"""Brokers, routes and workers for the tests of publishing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import current_app
from celery.app.routes import MapRoute
from django.db.models import F
from kombu import Exchange, Queue

from async_reply.models import Operation, Worker
from async_reply.publishing import broker, connections
from tests.conftest import configure_celery, need_service

#: The real function. A fixture replaces `broker.send`.
send = broker.send

AMQP = "amqp://guest:guest@127.0.0.1:5672//"


def pass_time(seconds: float = 60) -> None:
    """Move the times of all operations back by so many seconds."""
    by = timedelta(seconds=seconds)
    Operation.objects.update(
        published_at=F("published_at") - by, available_at=F("available_at") - by
    )


def read_by(*queues: str, concurrency: int = 1) -> None:
    """Make the row of a living worker that reads `queues`."""
    Worker.objects.create(name=f"worker{uuid4()}", concurrency=concurrency, queues=list(queues))


def use(monkeypatch: pytest.MonkeyPatch, url: str, **settings: Any) -> None:
    """Send to the broker at `url`, with Celery's `settings`."""
    defaults: dict[str, Any] = {"broker_transport": None, "broker_transport_options": {}}
    for name, value in {**defaults, **settings, "broker_write_url": url}.items():
        configure_celery(monkeypatch, **{name: value})


def use_redis(monkeypatch: pytest.MonkeyPatch, *, port: int = 6379, **settings: Any) -> None:
    pytest.importorskip("redis", reason="needs the extra redis")
    use(monkeypatch, f"redis://127.0.0.1:{port}/10", **settings)


def use_memory(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
    use(monkeypatch, "memory://", **settings)


def route(
    monkeypatch: pytest.MonkeyPatch, routes: Any = (), *queues: Queue, create_missing: bool = True
) -> None:
    """Set Celery's routes and queues, as a project configures them."""
    celery_queues = current_app.amqp.Queues(list(queues), create_missing=create_missing)
    router: Any = current_app.amqp.Router(celery_queues, create_missing=create_missing)
    router.routes = [MapRoute(entry) if isinstance(entry, dict) else entry for entry in routes]
    monkeypatch.setitem(current_app.amqp.__dict__, "queues", celery_queues)
    monkeypatch.setitem(current_app.amqp.__dict__, "router", router)
    # The sender keeps the queues with which it was made.
    amqp: Any = current_app.amqp
    monkeypatch.setitem(amqp.__dict__, "send_task_message", amqp._create_task_sender())


@dataclass(frozen=True)
class Way:
    """A way to route a kind, over a broker."""

    port: int
    settings: dict[str, Any] = field(default_factory=dict)
    make_queue: Callable[[str], Queue] = Queue
    make_route: Callable[[str], dict[str, Any]] = lambda queue: {"queue": queue}
    priorities: tuple[int | None, ...] = (None,)

    @property
    def url(self) -> str:
        return AMQP if self.port == 5672 else f"redis://127.0.0.1:{self.port}/10"


def _addressed(queue: str) -> dict[str, Any]:
    return {"exchange": f"exchange-{queue}", "routing_key": f"key.{queue}"}


def _options(**options: Any) -> dict[str, Any]:
    return {"broker_transport_options": options}


REDIS, RABBITMQ = 6379, 5672
#: Each way in which a message reaches a queue: by name, by an exchange, with a prefix of keys, with
#: priorities (Redis has a list for each, RabbitMQ an argument of the queue), and replicated.
WAYS = {
    "redis-queue": Way(REDIS),
    "redis-prefix": Way(REDIS, _options(global_keyprefix="prefix-")),
    "redis-priorities": Way(
        REDIS, _options(priority_steps=[0, 3, 6, 9], sep=":"), priorities=(0, 3, 9)
    ),
    "redis-prefix-priorities": Way(
        REDIS, _options(global_keyprefix="prefix-", priority_steps=[0, 5]), priorities=(0, 5)
    ),
    "redis-exchange": Way(
        REDIS,
        make_queue=lambda name: Queue(name, Exchange(f"exchange-{name}"), f"key.{name}"),
        make_route=_addressed,
    ),
    "rabbitmq-queue": Way(RABBITMQ),
    "rabbitmq-exchange": Way(
        RABBITMQ,
        make_queue=lambda name: Queue(name, Exchange(f"exchange-{name}"), f"key.{name}"),
        make_route=_addressed,
    ),
    "rabbitmq-topic": Way(
        RABBITMQ,
        make_queue=lambda name: Queue(name, Exchange(f"exchange-{name}", "topic"), "key.#"),
        make_route=_addressed,
    ),
    "rabbitmq-priorities": Way(
        RABBITMQ, make_queue=lambda name: Queue(name, max_priority=9), priorities=(0, 9)
    ),
    "rabbitmq-quorum": Way(
        RABBITMQ,
        make_queue=lambda name: Queue(name, queue_arguments={"x-queue-type": "quorum"}),
    ),
}


@contextmanager
def queue_of(kind: str, way: Way, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    """Make a queue that messages of `kind` reach by `way`, and delete it at the end."""
    if way.port == REDIS:
        pytest.importorskip("redis", reason="needs the extra redis")
    need_service("broker", port=way.port)
    use(monkeypatch, way.url, **way.settings)
    queue = way.make_queue(f"async-reply-test-{uuid4()}")
    route(monkeypatch, [{kind: way.make_route(queue.name)}], queue)
    with connections.connection().clone() as connection:
        bound = queue.bind(connection.default_channel)
        bound.declare()
        try:
            yield bound
        finally:
            bound.delete()
            if queue.exchange.name.startswith("exchange-"):
                queue.exchange.bind(connection.default_channel).delete()
