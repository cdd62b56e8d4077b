import socket
import time
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import current_app
from celery.app.routes import MapRoute as Mapped
from celery.exceptions import QueueNotFound
from django.db import OperationalError, transaction
from django.utils import timezone
from pytest_django import Settings

from async_reply import lifecycle, relay, services
from async_reply.clock import after
from async_reply.models import Operation
from async_reply.status import Status
from tests.conftest import configure_celery
from tests.project.tasks import break_down, echo
from tests.worker.brokers import send, use_memory, use_redis


@pytest.fixture
def down(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(operation: Operation) -> None:
        raise ConnectionRefusedError("no broker")

    monkeypatch.setattr(relay, "_send", refuse)


@pytest.mark.django_db(transaction=True)
def test_submit__with_the_broker_down_is_left_to_the_relay(
    down: None, monkeypatch: pytest.MonkeyPatch, broker: list[str]
) -> None:
    first = services.submit(echo)
    assert relay.breaker.is_open
    second = services.submit(echo)
    assert list(Operation.objects.values_list("published_at", flat=True)) == [None, None]
    assert relay.publish_due() == 0
    relay.breaker.reset()
    monkeypatch.setattr(relay, "_send", lambda operation: broker.append(str(operation.pk)))
    assert relay.publish_due() == 2
    assert broker == [str(first.pk), str(second.pk)]
    assert relay.publish_due() == 0


@pytest.mark.django_db(transaction=True)
def test_submit__with_broker_and_database_gone_after_the_commit(
    down: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is stored is accepted: nothing that fails afterwards reaches the caller."""

    def lose(operation: Operation) -> bool:
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(lifecycle, "unreserve", lose)
    operation = services.submit(echo)
    assert Operation.objects.get(pk=operation.pk).status == Status.PENDING


@pytest.mark.django_db(transaction=True)
def test_publish_due__stops_when_the_broker_fails(down: None) -> None:
    for _ in range(3):
        services.submit(echo)
    relay.breaker.reset()
    assert relay.publish_due() == 0
    assert relay.breaker.is_open


@pytest.mark.django_db(transaction=True)
def test_publish_due__what_fails_by_itself_makes_way(
    monkeypatch: pytest.MonkeyPatch, broker: list[str], settings: Settings
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "BATCH": 2}

    def refuse(operation: Operation) -> None:
        if operation.queue == "typo":
            raise QueueNotFound("typo")
        broker.append(str(operation.pk))

    monkeypatch.setattr(relay, "_send", refuse)
    for _ in range(2):
        services.submit(echo)
    Operation.objects.update(queue="typo")
    good = services.submit(echo)
    broker.clear()
    Operation.objects.update(published_at=None, available_at=after(-9))
    assert [relay.publish_due(), relay.publish_due()] == [0, 1]
    assert broker == [str(good.pk)]
    waiting = Operation.objects.filter(queue="typo")
    assert {each.published_at for each in waiting} == {None}
    assert all(each.available_at > timezone.now() for each in waiting)
    assert not relay.breaker.is_open


@pytest.mark.parametrize(("publishes", "seconds"), [(1, 2), (3, 8), (6, 60), (99, 60)])
def test_pause__doubles_up_to_a_minute(publishes: int, seconds: int) -> None:
    assert relay._pause(publishes) == seconds


@pytest.mark.django_db(transaction=True)
def test_republish_lost__asks_a_silent_broker_once(
    monkeypatch: pytest.MonkeyPatch, broker: list[str]
) -> None:
    asked: list[str] = []

    def hang() -> Any:
        asked.append("broker")
        raise TimeoutError("timed out")

    for queue in ("a", "b", "c"):
        Operation.objects.filter(pk=services.submit(echo).pk).update(queue=queue)
    Operation.objects.update(published_at=after(-60), available_at=after(-60))
    monkeypatch.setattr(relay, "_connection", hang)
    assert relay.republish_lost() == 0
    assert (asked, relay.breaker.is_open) == (["broker"], True)


@pytest.mark.django_db
def test_publish__of_what_another_relay_took(broker: list[str]) -> None:
    services.submit(echo)
    Operation.objects.update(published_at=None)
    stale = Operation.objects.get()
    assert relay.publish_due() == 1
    assert relay._publish_all([stale]) == 0
    assert len(broker) == 1


def test_send__refused_port_fails_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    use_redis(monkeypatch, port=1)
    started = time.monotonic()
    with pytest.raises(OSError, match=r"refused|Connection|111"):
        _send_or_os_error(Operation(kind=echo.name))
    assert time.monotonic() - started < 2 * 1.0 + 1


def _send_or_os_error(operation: Operation) -> None:
    """kombu's OperationalError is no OSError; what it wraps is."""
    try:
        send(operation)
    except Exception as error:
        raise OSError(str(error)) from error


@pytest.mark.django_db(transaction=True)
def test_eager__runs_here_and_its_failure_stays_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay, "_send", send)
    configure_celery(monkeypatch, task_always_eager=True)
    configure_celery(monkeypatch, task_eager_propagates=True)
    well, badly = services.submit(echo, input={"a": 1}), services.submit(break_down)
    well.refresh_from_db()
    badly.refresh_from_db()
    assert (well.status, well.result.value) == (Status.SUCCEEDED, {"a": 1})
    assert badly.status == Status.FAILED


def test_connection__waits_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_celery(monkeypatch, broker_transport=None)
    configure_celery(monkeypatch, broker_write_url="amqp://guest@127.0.0.1:1//")
    assert relay._connection().transport_options["confirm_timeout"] == 0.5


@pytest.mark.django_db(transaction=True)
def test_submit__waits_for_the_commit(broker: list[str]) -> None:
    with transaction.atomic():
        operation = services.submit(echo)
        assert broker == []
    assert broker == [str(operation.pk)]
    with transaction.atomic():
        services.submit(echo)
        transaction.set_rollback(True)
    assert broker == [str(operation.pk)]


@pytest.mark.django_db(transaction=True)
def test_submit__many_at_once_wait_for_a_broken_broker_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[Operation] = []

    def time_out(operation: Operation) -> None:
        tried.append(operation)
        raise TimeoutError

    monkeypatch.setattr(relay, "_send", time_out)
    with transaction.atomic():
        for _ in range(5):
            services.submit(echo)
    assert len(tried) == 1
    assert Operation.objects.due().unpublished().count() == 5


@pytest.mark.django_db
def test_breaker__closes_by_itself(settings: Settings, broker: list[str]) -> None:
    settings.ASYNC_REPLY = {"BREAKER": 0.05}
    services.submit(echo)
    Operation.objects.update(published_at=None)
    relay.breaker.trip()
    assert (relay.publish_due(), relay.republish_lost(), broker) == (0, 0, [])
    give_up = time.monotonic() + 10
    while relay.breaker.is_open:
        assert time.monotonic() < give_up
    assert relay.publish_due() == 1


@pytest.mark.django_db
def test_publish_due__oldest_first_and_a_batch(settings: Settings, broker: list[str]) -> None:
    settings.ASYNC_REPLY = {"BATCH": 2}
    made = [services.submit(echo) for _ in range(4)]
    for minutes, operation in zip((1, 3, 2, -5), made, strict=True):
        Operation.objects.filter(pk=operation.pk).update(
            published_at=None, available_at=timezone.now() - timedelta(minutes=minutes)
        )
    expected = [str(made[number].pk) for number in (1, 2, 0)]
    assert (relay.publish_due(), broker) == (2, expected[:2])
    assert (relay.publish_due(), broker) == (1, expected)
    assert relay.publish_due() == 0


@pytest.mark.django_db
def test_publish_due__kind_that_cannot_be_sent_stops_no_other(
    broker: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    poison, healthy = services.submit(echo), services.submit(echo)
    Operation.objects.update(published_at=None)

    def refuse_one(operation: Operation) -> None:
        if operation.pk == poison.pk:
            raise QueueNotFound("misspelt")
        broker.append(str(operation.pk))

    monkeypatch.setattr(relay, "_send", refuse_one)
    assert relay.publish_due() == 1
    assert broker == [str(healthy.pk)]
    assert not relay.breaker.is_open
    assert list(Operation.objects.unpublished()) == [poison]


def test_send__to_memory_carries_nothing_but_the_id(monkeypatch: pytest.MonkeyPatch) -> None:
    use_memory(monkeypatch)
    operation = Operation(kind=echo.name, queue=f"memory-{uuid4()}")
    send(operation)
    with relay._connection() as connection:
        message = connection.default_channel.basic_get(operation.queue, no_ack=True)
    assert message.headers["id"] == message.headers["root_id"] == str(operation.pk)
    assert message.decode()[:2] == [[], {}]
    assert (message.headers["eta"], message.headers["retries"]) == (None, 0)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, ("routed", 2)),
        ({"queue": "own"}, ("own", 2)),
        ({"priority": 0}, ("routed", 0)),
        ({"queue": "own", "priority": 7}, ("own", 7)),
    ],
)
def test_send__to_its_own_queue_or_where_celery_routes_it(
    monkeypatch: pytest.MonkeyPatch, own: dict[str, Any], expected: tuple[str, int]
) -> None:
    use_memory(monkeypatch)
    mine = f"-{uuid4()}"
    routes = [Mapped({echo.name: {"queue": f"routed{mine}", "priority": 2}})]
    monkeypatch.setattr(current_app.amqp.router, "routes", routes)
    if "queue" in own:
        own = {**own, "queue": own["queue"] + mine}
    send(Operation(kind=echo.name, **own))
    with relay._connection() as connection:
        message = connection.default_channel.basic_get(expected[0] + mine, no_ack=True)
    assert message.properties["priority"] == expected[1]


def test_send__with_the_projects_default_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    use_memory(monkeypatch)
    configure_celery(monkeypatch, task_default_priority=4)
    queue = f"memory-{uuid4()}"
    send(Operation(kind=echo.name, queue=queue))
    with relay._connection() as connection:
        message = connection.default_channel.basic_get(queue, no_ack=True)
    assert message.properties["priority"] == 4


def test_send__broker_that_says_nothing_fails_within_its_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use_redis(monkeypatch, port=silent.getsockname()[1])
        started = time.monotonic()
        with pytest.raises(relay.DOWN):
            send(Operation(kind=echo.name))
        assert not relay._is_short("celery")
        assert time.monotonic() - started < 3
