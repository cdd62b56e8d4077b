from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import current_app
from celery.app.amqp import Queues
from celery.app.routes import MapRoute as Mapped
from django.utils import timezone
from kombu import Queue
from pytest_django import Settings

from async_reply import lifecycle, relay, services
from async_reply.models import Operation
from async_reply.status import Status
from tests.conftest import need_service
from tests.project.tasks import echo
from tests.worker.brokers import long_ago, send, use_redis


@pytest.mark.django_db
def test_republish__what_a_short_queue_does_not_hold(
    broker: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = services.submit(echo)
    monkeypatch.setattr(relay, "_is_short", lambda queue: True)
    assert relay.republish_lost() == 0
    long_ago()
    assert relay.republish_lost() == 1
    assert broker == [str(operation.pk)]


@pytest.mark.django_db
def test_republish__what_was_overtaken(broker: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "_is_short", lambda queue: False)
    lost = services.submit(echo)
    long_ago()
    assert relay.republish_lost() == 0
    later = services.submit(echo)
    assert lifecycle.claim(later, worker="w")
    assert relay.republish_lost() == 1
    assert broker == [str(lost.pk)]


@pytest.mark.django_db
def test_is_short__on_redis_counts_what_waits(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    need_service("Redis", port=6379)
    use_redis(monkeypatch)
    settings.ASYNC_REPLY = {"BATCH": 1}
    queue = f"relay-test-{uuid4()}"
    assert relay._is_short(queue)
    operation = Operation(kind=echo.name, queue=queue, priority=3)
    send(operation)
    assert not relay._is_short(queue)
    with relay._connection() as connection:
        message = connection.default_channel.basic_get(queue, no_ack=True)
    assert (message.headers["id"], message.headers["task"]) == (str(operation.pk), echo.name)
    assert message.decode()[:2] == [[], {}]
    assert relay._is_short(queue)


def test_is_short__broker_that_cannot_say(monkeypatch: pytest.MonkeyPatch) -> None:
    use_redis(monkeypatch, port=1)
    assert not relay._is_short("celery")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 1),
        ({"queue": "slow"}, 0),
        ({"priority": 9}, 0),
        ({"publishes": 2}, 0),
        ({"kind": "tests.elsewhere"}, 0),
        ({"published_at": timezone.now() - timedelta(minutes=1, seconds=-5)}, 0),
        ({"status": Status.SUCCEEDED}, 0),
    ],
)
@pytest.mark.django_db
def test_republish__overtaken_only_by_what_stood_behind_it(
    changes: dict[str, Any], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_is_short", lambda queue: False)
    monkeypatch.setitem(
        current_app.amqp.__dict__,
        "router",
        current_app.amqp.Router(Queues([Queue("a"), Queue("b")])),
    )
    monkeypatch.setattr(
        current_app.amqp.router, "routes", [Mapped({"tests.elsewhere": {"queue": "b"}})]
    )
    waiting = services.submit(echo)
    long_ago()
    later = services.submit(echo)
    assert lifecycle.claim(later, worker="w")
    Operation.objects.filter(pk=later.pk).update(**changes)
    assert relay.republish_lost() == expected
    waiting.refresh_from_db()
    assert waiting.publishes == 1 + expected


@pytest.mark.django_db
def test_republish__long_backlog_is_let_alone(
    broker: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_is_short", lambda queue: False)
    for _ in range(5):
        services.submit(echo)
    long_ago()
    assert lifecycle.claim(Operation.objects.order_by("pk")[0], worker="w")
    assert relay.republish_lost() == 0
    assert broker == []


@pytest.mark.django_db
def test_republish__a_batch_oldest_first(
    broker: list[str], monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.ASYNC_REPLY = {"BATCH": 2}
    monkeypatch.setattr(relay, "_is_short", lambda queue: True)
    made = [services.submit(echo) for _ in range(3)]
    for minutes, operation in zip((1, 3, 2), made, strict=True):
        Operation.objects.filter(pk=operation.pk).update(
            published_at=timezone.now() - timedelta(minutes=minutes)
        )
    assert relay.republish_lost() == 2
    assert broker == [str(made[1].pk), str(made[2].pk)]


@pytest.mark.django_db
def test_republish__misspelt_queue_hinders_no_other(
    broker: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_is_short", lambda queue: True)
    router = current_app.amqp.Router(
        Queues([Queue("a")], create_missing=False), create_missing=False
    )
    monkeypatch.setitem(current_app.amqp.__dict__, "router", router)
    routes = [Mapped({"tests.elsewhere": {"queue": "misspelt"}})]
    monkeypatch.setattr(router, "routes", routes)
    services.submit(echo)
    services.submit(echo)
    long_ago()
    Operation.objects.filter(pk=Operation.objects.latest("pk").pk).update(kind="tests.elsewhere")
    assert relay.republish_lost() == 2


@pytest.mark.django_db
def test_republish__claimed_by_an_old_message_of_an_unpublished_row(broker: list[str]) -> None:
    operation = services.submit(echo)
    assert lifecycle.claim(operation, worker="w1")
    assert lifecycle.release(operation)
    again = Operation.objects.get()
    assert lifecycle.claim(again, worker="w2")
    assert relay._last_claimed() == {}
    assert relay.republish_lost() == 0
