import time
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import current_app
from django.utils import timezone
from pytest_django import Settings

from async_reply import lifecycle, relay, services
from async_reply.models import Operation
from async_reply.status import Status
from tests.conftest import need_service
from tests.project.tasks import break_down, echo

send = relay._send


@pytest.fixture
def down(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(operation: Operation) -> None:
        raise ConnectionRefusedError("no broker")

    monkeypatch.setattr(relay, "_send", refuse)


def long_ago(**changes: Any) -> None:
    Operation.objects.update(published_at=timezone.now() - timedelta(minutes=1), **changes)


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
def test_publish_due__stops_when_the_broker_fails(down: None) -> None:
    for _ in range(3):
        services.submit(echo)
    relay.breaker.reset()
    assert relay.publish_due() == 0
    assert relay.breaker.is_open


@pytest.mark.django_db
def test_publish__of_what_another_relay_took(broker: list[str]) -> None:
    services.submit(echo)
    Operation.objects.update(published_at=None)
    stale = Operation.objects.get()
    assert relay.publish_due() == 1
    assert relay._publish_all([stale]) == 0
    assert len(broker) == 1


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
    monkeypatch.setitem(current_app.conf, "task_always_eager", True)
    monkeypatch.setitem(current_app.conf, "task_eager_propagates", True)
    well, badly = services.submit(echo, input={"a": 1}), services.submit(break_down)
    well.refresh_from_db()
    badly.refresh_from_db()
    assert (well.status, well.result.value) == (Status.SUCCEEDED, {"a": 1})
    assert badly.status == Status.FAILED


def test_connection__waits_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(current_app.conf, "broker_transport", None)
    monkeypatch.setitem(current_app.conf, "broker_write_url", "amqp://guest@127.0.0.1:1//")
    assert relay._connection().transport_options["confirm_timeout"] == 0.5


def use_redis(monkeypatch: pytest.MonkeyPatch, *, port: int = 6379) -> None:
    monkeypatch.setitem(current_app.conf, "broker_transport", None)
    monkeypatch.setitem(current_app.conf, "broker_transport_options", {})
    monkeypatch.setitem(current_app.conf, "broker_write_url", f"redis://127.0.0.1:{port}/11")
