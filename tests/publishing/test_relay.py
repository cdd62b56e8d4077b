import time
from datetime import timedelta
from typing import Any

import pytest
from celery.exceptions import QueueNotFound
from django.db import OperationalError, transaction
from django.utils import timezone
from pytest_django import Settings

from async_reply import lifecycle, services
from async_reply.database.clock import after
from async_reply.models import Operation
from async_reply.publishing import relay
from async_reply.publishing.broker import breaker
from async_reply.status import Status
from tests.conftest import configure_celery
from tests.project.tasks import break_down, echo
from tests.publishing.brokers import read_by, send


@pytest.fixture
def broker_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(operation: Operation) -> None:
        raise ConnectionRefusedError("no broker")

    monkeypatch.setattr("async_reply.publishing.broker.send", refuse)


@pytest.mark.django_db(transaction=True)
def test_submit__with_the_broker_down_is_published_by_the_relay(
    broker_is_down: None, monkeypatch: pytest.MonkeyPatch, broker: list[str]
) -> None:
    first = services.submit(echo)
    assert breaker.is_open
    second = services.submit(echo)
    assert list(Operation.objects.values_list("published_at", flat=True)) == [None, None]
    assert relay.publish_due() == 0
    breaker.reset()
    monkeypatch.setattr(
        "async_reply.publishing.broker.send", lambda operation: broker.append(str(operation.pk))
    )
    assert relay.publish_due() == 2
    assert broker == [str(first.pk), str(second.pk)]
    assert relay.publish_due() == 0


@pytest.mark.django_db(transaction=True)
def test_submit__with_broker_and_database_down_after_the_commit(
    broker_is_down: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row is stored, so the submit is accepted. Later errors do not reach the caller."""

    def lose(operation: Operation) -> bool:
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(lifecycle, "hand_back", lose)
    operation = services.submit(echo)
    assert Operation.objects.get(pk=operation.pk).status == Status.PENDING


@pytest.mark.django_db(transaction=True)
def test_publish_due__stops_when_the_broker_fails(broker_is_down: None) -> None:
    for _ in range(3):
        services.submit(echo)
    breaker.reset()
    assert relay.publish_due() == 0
    assert breaker.is_open


@pytest.mark.django_db(transaction=True)
def test_publish_due__operation_that_fails_is_tried_later(
    monkeypatch: pytest.MonkeyPatch, broker: list[str], settings: Settings
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "BATCH": 2}

    def refuse(operation: Operation) -> None:
        if operation.queue == "typo":
            raise QueueNotFound("typo")
        broker.append(str(operation.pk))

    monkeypatch.setattr("async_reply.publishing.broker.send", refuse)
    for _ in range(2):
        services.submit(echo)
    Operation.objects.update(queue="typo")
    good = services.submit(echo)
    broker.clear()
    Operation.objects.update(published_at=None, available_at=after(-9))
    assert [relay.publish_due(), relay.publish_due()] == [0, 1]
    assert broker == [str(good.pk)]
    waiting = Operation.objects.filter(queue="typo")
    assert {operation.published_at for operation in waiting} == {None}
    assert all(operation.available_at > timezone.now() for operation in waiting)
    assert not breaker.is_open


@pytest.mark.parametrize(("publishes", "seconds"), [(1, 2), (3, 8), (6, 60), (99, 60)])
def test_pause_seconds__double_up_to_a_minute(publishes: int, seconds: int) -> None:
    assert relay._pause_seconds(publishes) == seconds


@pytest.mark.django_db(transaction=True)
def test_republish_lost__asks_a_hanging_broker_once(
    monkeypatch: pytest.MonkeyPatch, broker: list[str]
) -> None:
    asked: list[str] = []

    def hang() -> Any:
        asked.append("broker")
        raise TimeoutError("timed out")

    for queue in ("a", "b", "c"):
        Operation.objects.filter(pk=services.submit(echo).pk).update(queue=queue)
    read_by("a", "b", "c")
    Operation.objects.update(published_at=after(-60), available_at=after(-60))
    monkeypatch.setattr("async_reply.publishing.connections.connection", hang)
    assert relay.republish_lost() == 0
    assert (asked, breaker.is_open) == (["broker"], True)


@pytest.mark.django_db(transaction=True)
def test_publish__failure_after_the_claim_changes_no_retry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The message arrives although sending fails, and its job is to be retried in ten minutes."""

    def fail(operation: Operation) -> None:
        row = Operation.objects.get()
        assert lifecycle.claim(row, worker="w")
        assert lifecycle.retry(row, delay=600)
        raise QueueNotFound("a moment ago")

    monkeypatch.setattr("async_reply.publishing.broker.send", fail)
    operation = services.submit(echo)
    operation.refresh_from_db()
    assert operation.available_at > timezone.now() + timedelta(seconds=300)


@pytest.mark.django_db
def test_publish__after_another_relay_did_sends_nothing(broker: list[str]) -> None:
    services.submit(echo)
    Operation.objects.update(published_at=None)
    stale = Operation.objects.get()
    assert relay.publish_due() == 1
    assert relay._publish_all([stale]) == 0
    assert len(broker) == 1


@pytest.mark.django_db(transaction=True)
def test_eager__job_that_fails_does_not_fail_the_submit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("async_reply.publishing.broker.send", send)
    configure_celery(monkeypatch, task_always_eager=True)
    configure_celery(monkeypatch, task_eager_propagates=True)
    good, bad = services.submit(echo, input={"a": 1}), services.submit(break_down)
    good.refresh_from_db()
    bad.refresh_from_db()
    assert (good.status, good.result.value) == (Status.SUCCEEDED, {"a": 1})
    assert bad.status == Status.FAILED


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
def test_submit__many_in_a_transaction_wait_for_the_broker_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[Operation] = []

    def time_out(operation: Operation) -> None:
        tried.append(operation)
        raise TimeoutError

    monkeypatch.setattr("async_reply.publishing.broker.send", time_out)
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
    breaker.trip()
    assert (relay.publish_due(), relay.republish_lost(), broker) == (0, 0, [])
    give_up = time.monotonic() + 10
    while breaker.is_open:
        assert time.monotonic() < give_up
    assert relay.publish_due() == 1


@pytest.mark.django_db
def test_publish_due__a_batch_of_the_oldest(settings: Settings, broker: list[str]) -> None:
    settings.ASYNC_REPLY = {"BATCH": 2}
    operations = [services.submit(echo) for _ in range(4)]
    for minutes, operation in zip((1, 3, 2, -5), operations, strict=True):
        Operation.objects.filter(pk=operation.pk).update(
            published_at=None, available_at=timezone.now() - timedelta(minutes=minutes)
        )
    expected = [str(operations[number].pk) for number in (1, 2, 0)]
    assert (relay.publish_due(), broker) == (2, expected[:2])
    assert (relay.publish_due(), broker) == (1, expected)
    assert relay.publish_due() == 0


@pytest.mark.django_db
def test_publish_due__goes_on_after_a_message_that_cannot_be_sent(
    broker: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = services.submit(echo), services.submit(echo)
    Operation.objects.update(published_at=None)

    def refuse_one(operation: Operation) -> None:
        if operation.pk == bad.pk:
            raise QueueNotFound("misspelt")
        broker.append(str(operation.pk))

    monkeypatch.setattr("async_reply.publishing.broker.send", refuse_one)
    assert relay.publish_due() == 1
    assert broker == [str(good.pk)]
    assert not breaker.is_open
    assert list(Operation.objects.unpublished()) == [bad]
