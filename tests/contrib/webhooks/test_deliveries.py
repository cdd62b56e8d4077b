"""How a delivery goes on: tries, later events, receivers that refuse, and killed workers."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any

import pytest
from django.contrib.auth.models import AbstractBaseUser, User
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from async_reply import lifecycle, services
from async_reply.contrib.webhooks import (
    addresses,
    deliveries,
    duties,
    events,
    hints,
    pauses,
    replays,
    submits,
)
from async_reply.contrib.webhooks.models import Delivery, DeliveryTry, Endpoint
from async_reply.database.clock import after
from async_reply.models import Operation, Turn
from async_reply.testing import run_operations
from tests.contrib.webhooks.conftest import make_endpoint
from tests.contrib.webhooks.receivers import Receiver, answering, hanging, receiving
from tests.project import questions
from tests.project.tasks import echo, refuse

pytestmark = pytest.mark.django_db

Deliver = Callable[[], int]
ALL = list(events.ALL)


@pytest.fixture
def start(user: AbstractBaseUser) -> Callable[..., Operation]:
    """Submits an operation and begins an attempt."""

    def make(task: Any = echo) -> Operation:
        operation = services.submit(task, owner=str(user.pk))
        assert lifecycle.claim(operation, worker="w1")
        hints.give(operation)
        return operation

    return make


def finish(operation: Operation) -> None:
    assert lifecycle.succeed(operation)
    hints.give(operation)


def row() -> Any:
    return Delivery.objects.get()


def make_due() -> None:
    """The pause before the next try is over."""
    Delivery.objects.filter(due_at__isnull=False).update(due_at=after(0), not_before=None)


def test_events__come_in_order(
    endpoint: Endpoint, start: Any, receiver: Receiver, deliver: Deliver
) -> None:
    Endpoint.objects.update(events=ALL)
    operation = start()
    assert deliver() == 1
    assert deliver() == 0
    finish(operation)
    assert deliver() == 1
    Operation.objects.update(expires_at=after(0))
    duties.cast_net()
    assert deliver() == 1
    assert receiver.ids == [
        f"{operation.pk}.started.1",
        f"{operation.pk}.succeeded",
        f"{operation.pk}.expired",
    ]
    assert [message["data"]["status"] for message in receiver.messages] == [
        *("running", "succeeded", "succeeded")
    ]
    assert row().state == Delivery.State.DELIVERED


@pytest.mark.parametrize("is_hinted", [True, False], ids=["hint", "net"])
def test_question__is_told_once(
    endpoint: Endpoint,
    user: AbstractBaseUser,
    receiver: Receiver,
    deliver: Deliver,
    is_hinted: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Endpoint.objects.update(events=ALL)
    with monkeypatch.context() as patched:
        if not is_hinted:
            patched.setattr(hints, "give", lambda operation: None)
        operation = services.submit(questions.approve, owner=str(user.pk))
        run_operations()
    for _ in range(2):
        duties.cast_net()
        deliver()
    assert receiver.ids == [f"{operation.pk}.input_required.1"]
    assert receiver.messages[0]["data"]["status"] == "pending"
    operation.refresh_from_db()
    services.answer(operation, "approve", {"approved": True}, by=str(user.pk))
    run_operations()
    deliver()
    assert receiver.types == ["operation.input_required", "operation.succeeded"]


def test_question__that_was_answered_meanwhile_is_left_out(
    endpoint: Endpoint, user: AbstractBaseUser, receiver: Receiver, deliver: Deliver
) -> None:
    Endpoint.objects.update(events=[events.INPUT_REQUIRED])
    receiver.answer = answering(500)
    operation = services.submit(questions.approve, owner=str(user.pk))
    run_operations()
    deliver()
    operation.refresh_from_db()
    services.answer(operation, "approve", {"approved": True}, by=str(user.pk))
    make_due()
    assert deliver() == 0
    assert len(receiver.types) == 1


def test_question__is_not_told_to_those_who_do_not_want_it(
    endpoint: Endpoint, user: AbstractBaseUser, receiver: Receiver, deliver: Deliver
) -> None:
    services.submit(questions.approve, owner=str(user.pk))
    run_operations()
    duties.cast_net()
    assert (deliver(), receiver.types) == (0, [])


def test_event_that_was_overtaken__is_left_out(
    endpoint: Endpoint, start: Any, receiver: Receiver, deliver: Deliver
) -> None:
    Endpoint.objects.update(events=ALL)
    finish(start())
    deliver()
    assert receiver.types == ["operation.succeeded"]


def test_later_event__takes_the_place_of_one_that_fails_and_has_its_own_time(
    endpoint: Endpoint, start: Any, receiver: Receiver, deliver: Deliver
) -> None:
    Endpoint.objects.update(events=ALL)
    receiver.answer = answering(500)
    operation = start()
    deliver()
    Delivery.objects.update(tries=9, give_up_at=after(-1))
    finish(operation)
    receiver.answer = answering(200)
    assert deliver() == 1
    assert receiver.types == ["operation.started", "operation.succeeded"]
    assert row().tries == 1
    assert row().ledger.count() == 2


def test_outcome_that_the_filter_has_not__ends_the_delivery(
    endpoint: Endpoint, start: Any, receiver: Receiver, deliver: Deliver
) -> None:
    Endpoint.objects.update(events=[events.STARTED, "operation.failed"])
    receiver.answer = answering(500)
    operation = start()
    deliver()
    finish(operation)
    assert deliver() == 0
    assert row().state == Delivery.State.DELIVERED
    assert (row().event, row().has_outcome) == ("", True)


def test_failed_try__is_repeated_with_the_same_message(
    endpoint: Any, start: Any, receiver: Receiver, deliver: Deliver
) -> None:
    receiver.answer = answering(500, b"broken")
    finish(start())
    assert deliver() == 1
    assert deliver() == 0
    pause = row().due_at - timezone.now()
    assert timedelta(seconds=1) < pause < timedelta(seconds=6)
    receiver.answer = answering(204)
    make_due()
    assert deliver() == 1
    first, second = receiver.requests
    assert first[1] == second[1]
    assert first[0]["webhook-id"] == second[0]["webhook-id"]
    receiver.verify(endpoint.plain_secret)
    tries = list(DeliveryTry.objects.order_by("id").values_list("status", "error", "answer"))
    assert tries == [(500, "The receiver answered 500.", "broken"), (204, "", "")]


def test_pauses__grow_to_an_hour() -> None:
    seconds = [pauses.pause_seconds(tries) for tries in range(99)]
    assert seconds[0] <= 5
    assert 1800 <= seconds[-1] <= 3600
    # A day has room for some dozen tries.
    assert 30 <= sum(moment < 24 * 3600 for moment in accumulate(seconds)) <= 60


def test_time_that_is_over__ends_the_delivery(
    endpoint: Endpoint, start: Any, receiver: Receiver, deliver: Deliver
) -> None:
    receiver.answer = answering(500)
    finish(start())
    deliver()
    Delivery.objects.update(give_up_at=after(-1))
    make_due()
    deliver()
    assert row().state == Delivery.State.FAILED
    assert row().ended_at is not None


def test_clock_of_a_worker_that_is_wrong__ends_no_delivery(
    endpoint: Endpoint,
    start: Any,
    receiver: Receiver,
    deliver: Deliver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    receiver.answer = answering(500)
    finish(start())
    (message,) = deliveries.claim_due(20)
    answer, ahead = message.post(), time.time() + timedelta(days=2).total_seconds()
    monkeypatch.setattr(time, "time", lambda: ahead)
    deliveries.record(message, answer)
    monkeypatch.undo()
    assert row().state == Delivery.State.OPEN
    assert row().due_at - timezone.now() < timedelta(seconds=6)


@pytest.mark.parametrize("event", [events.STARTED, events.INPUT_REQUIRED])
def test_time_that_is_over_before_the_outcome__leaves_the_outcome_a_time_of_its_own(
    event: str, endpoint: Any, start: Any, receiver: Receiver, deliver: Deliver
) -> None:
    """A receiver that was away for a day hears of the outcome of an operation that takes longer."""
    Endpoint.objects.update(events=ALL)
    receiver.answer = answering(500)
    operation = start()
    if event == events.INPUT_REQUIRED:
        Operation.objects.update(status="pending", pause=events.QUESTION)
        hints.give(operation)
    deliver()
    Delivery.objects.update(give_up_at=after(-1))
    make_due()
    assert deliver() == 1
    assert (row().event, row().state, row().due_at) == (event, Delivery.State.OPEN, None)
    make_due()
    assert duties.cast_net() == 0
    assert deliver() == 0
    receiver.answer = answering(204)
    Operation.objects.update(status="running", pause="")
    finish(operation)
    assert deliver() == 1
    assert receiver.types[-1] == "operation.succeeded"
    assert row().tries == 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after__is_obeyed(
    form: str, endpoint: Endpoint, start: Any, receiver: Receiver, deliver: Deliver
) -> None:
    moment = datetime.now(UTC) + timedelta(hours=2)
    field = "7200" if form == "seconds" else f"{moment:%a, %d %b %Y %H:%M:%S GMT}"
    receiver.answer = answering(503, Retry_After=field)
    Endpoint.objects.update(events=ALL)
    operation = start()
    deliver()
    left = row().due_at - timezone.now()
    assert timedelta(minutes=119) < left < timedelta(minutes=121)
    finish(operation)
    assert deliver() == 0
    assert row().due_at - timezone.now() > timedelta(minutes=119)


def test_retry_after__never_outlasts_the_time_for_tries(
    endpoint: Endpoint, start: Any, receiver: Receiver, deliver: Deliver
) -> None:
    receiver.answer = answering(429, Retry_After="99999999999999")
    finish(start())
    deliver()
    assert row().due_at - timezone.now() < timedelta(hours=24, minutes=1)


BAD_RETRY_AFTER = [
    *("", "soon", "-1", "²", "Mon, 99 Xxx 2020 00:00:00 GMT"),
    "Mon, 01 Jan 20269999900 00:00:00 GMT",  # a year that no C integer holds
]


@pytest.mark.parametrize("field", BAD_RETRY_AFTER)
def test_bad_retry_after__counts_as_none(field: str) -> None:
    assert pauses.retry_after_seconds(field) == 0


@pytest.fixture
def _overloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many look-ups hang that no other is begun."""
    monkeypatch.setattr(addresses, "_look_ups", threading.BoundedSemaphore(1))
    addresses._look_ups.acquire()


@pytest.mark.usefixtures("_overloaded")
def test_post_without_a_look_up__is_postponed_and_counts_for_nothing(
    endpoint: Endpoint, start: Any, receiver: Receiver, deliver: Deliver
) -> None:
    name = receiver.url.replace("127.0.0.1", "localhost")
    replays.change_url(endpoint, name)
    endpoint.save()
    finish(start())
    Delivery.objects.update(host=submits.host(name))
    assert deliver() == 1
    assert (row().tries, row().lease_expires_at) == (0, None)
    assert row().due_at > timezone.now()
    assert not DeliveryTry.objects.exists()
    addresses._look_ups.release()
    make_due()
    assert deliver() == 1
    assert row().state == Delivery.State.DELIVERED


@pytest.mark.usefixtures("_overloaded")
def test_post_without_a_look_up__fails_at_the_end_of_the_time(
    endpoint: Endpoint, start: Any, receiver: Receiver, deliver: Deliver, settings: Settings
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "WEBHOOK_RETRY": 0.000001}
    Endpoint.objects.update(url=receiver.url.replace("127.0.0.1", "localhost"))
    finish(start())
    deliver()
    assert row().state == Delivery.State.FAILED
    assert DeliveryTry.objects.get().error == "Our name server does not answer."


def test_410__disables_the_endpoint(
    endpoint: Endpoint, start: Any, receiver: Receiver, deliver: Deliver
) -> None:
    receiver.answer = answering(410)
    first, second = start(), start()
    finish(first)
    deliver()
    endpoint.refresh_from_db()
    assert endpoint.state == Endpoint.State.GONE
    finish(second)
    assert deliver() == 0
    assert set(Delivery.objects.values_list("state", flat=True)) == {Delivery.State.CLOSED}


def test_410__of_an_earlier_url_does_not_disable_the_endpoint(
    endpoint: Endpoint, start: Any, receiver: Receiver, deliver: Deliver
) -> None:
    receiver.answer = answering(410)
    finish(start())
    (message,) = deliveries.claim_due(20)
    answer = message.post()
    with receiving() as other:
        replays.change_url(endpoint, other.url)
        endpoint.save()
        deliveries.record(message, answer)
        endpoint.refresh_from_db()
        assert endpoint.state == Endpoint.State.ENABLED
        make_due()
        deliver()
        assert other.types == ["operation.succeeded"]


def test_410__closes_a_callback(
    receiver: Receiver, user: AbstractBaseUser, deliver: Deliver, settings: Settings
) -> None:
    key = "whsk_VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk="
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "WEBHOOK_KEYS": [key]}
    receiver.answer = answering(410)
    Delivery.objects.create(
        operation=endpoint_free_operation(user), kind="k", owner="1", url=receiver.url,
        host="h", outcomes=events.default(), due_at=after(0),
    )  # fmt: skip
    deliver()
    assert (row().state, row().tries) == (Delivery.State.CLOSED, 1)


def endpoint_free_operation(user: AbstractBaseUser) -> Any:
    operation = services.submit(echo, owner=str(user.pk))
    run_operations()
    return operation.pk


def test_slow_receiver__holds_up_nobody_else(
    user: AbstractBaseUser, start: Any, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One host gets one message at a time; others get theirs meanwhile."""
    with receiving("127.0.0.2") as slow:
        slow.answer = hanging(1)
        make_endpoint(user, slow.url)
        make_endpoint(user, receiver.url)
        for _ in range(3):
            finish(start())
        claimed = deliveries.claim_due(20)
        assert len(claimed) == 2
        fast = next(message for message in claimed if message.url == receiver.url)
        deliveries.record(fast, fast.post())
        # the slow host is leased
        assert [message.url for message in deliveries.claim_due(20)] == [receiver.url]


def test_receiver_that_is_away__is_spared(
    user: AbstractBaseUser, start: Any, deliver: Deliver
) -> None:
    with receiving() as gone:
        pass
    make_endpoint(user, gone.url)
    for _ in range(3):
        finish(start())
    assert deliver() == 1
    assert deliveries.due().count() == 0
    assert DeliveryTry.objects.count() == 1


def test_claimed_delivery__is_sent_again_when_its_lease_is_over(
    endpoint: Endpoint, start: Any, receiver: Receiver, deliver: Deliver
) -> None:
    """As after a kill between the claim and the record."""
    finish(start())
    (message,) = deliveries.claim_due(20)
    assert message.post().is_success
    assert deliver() == 0
    over = after(-1)
    Delivery.objects.update(lease_expires_at=over, due_at=over)
    assert deliver() == 1
    assert len(set(receiver.ids)) == 1
    assert len(receiver.requests) == 2


def test_process_that_was_frozen_before_its_post__sends_nothing(
    endpoint: Endpoint, start: Any, receiver: Receiver, deliver: Deliver
) -> None:
    """Its message would come after that of the process that has claimed the delivery since."""
    Endpoint.objects.update(events=ALL)
    operation = start()
    (started,) = deliveries.claim_due(20)
    over = after(-1)
    Delivery.objects.update(lease_expires_at=over, due_at=over)
    finish(operation)
    assert deliver() == 1
    frozen = replace(started, claimed_at=started.claimed_at - deliveries.LEASE_SECONDS)
    deliveries.record(frozen, frozen.post())
    assert receiver.types == ["operation.succeeded"]
    assert row().is_told


def test_late_answer__changes_nothing_for_the_next_claim(
    endpoint: Endpoint, start: Any, receiver: Receiver
) -> None:
    finish(start())
    (late,) = deliveries.claim_due(20)
    over = after(-1)
    Delivery.objects.update(lease_expires_at=over, due_at=over)
    (current,) = deliveries.claim_due(20)
    receiver.answer = answering(500)
    deliveries.record(late, late.post())
    assert row().claims == current.delivery.claims
    assert row().lease_expires_at is not None
    receiver.answer = answering(200)
    deliveries.record(current, current.post())
    assert row().state == Delivery.State.DELIVERED
    assert DeliveryTry.objects.count() == 2


def test_two_claims__one_wins(endpoint: Endpoint, start: Any) -> None:
    finish(start())
    delivery = row()
    assert deliveries.claim(delivery) is not None
    assert deliveries.claim(delivery) is None


def test_claim_of_a_row_that_was_claimed_meanwhile__changes_nothing(
    endpoint: Endpoint, start: Any, receiver: Receiver, deliver: Deliver
) -> None:
    receiver.answer = answering(500)
    finish(start())
    stale = row()
    deliver()
    make_due()
    assert deliveries.claim(stale) is None
    assert row().lease_expires_at is None


def test_hint_while_a_message_is_sent__is_not_lost(
    endpoint: Endpoint, start: Any, receiver: Receiver, deliver: Deliver
) -> None:
    Endpoint.objects.update(events=ALL)
    operation = start()
    (message,) = deliveries.claim_due(20)
    finish(operation)
    deliveries.record(message, message.post())
    assert deliver() == 1
    assert receiver.types == ["operation.started", "operation.succeeded"]


def test_lost_hints__are_found_by_the_net(
    endpoint: Endpoint,
    start: Any,
    receiver: Receiver,
    deliver: Deliver,
    published: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Endpoint.objects.update(events=ALL)
    monkeypatch.setattr(hints, "give", lambda _operation: None)
    operation = start()
    assert deliver() == 0
    assert duties.cast_net() == 1
    assert deliver() == 1
    assert duties.cast_net() == 0
    finish(operation)
    assert duties.cast_net() == 1
    assert deliver() == 1
    assert duties.cast_net() == 0
    assert receiver.types == ["operation.started", "operation.succeeded"]
    assert published


def test_net__finds_an_event_that_nobody_would_send(endpoint: Endpoint, start: Any) -> None:
    """Whatever has set the time of its next try to none."""
    finish(start())
    assert deliveries.claim_due(20)
    Delivery.objects.update(due_at=None, lease_expires_at=None)
    assert duties.cast_net() == 1
    assert deliveries.due().count() == 1


@pytest.mark.parametrize("is_gone", [False, True], ids=["unwanted outcome", "row is gone"])
def test_net__finds_a_delivery_that_can_end(
    endpoint: Endpoint, start: Any, deliver: Deliver, is_gone: bool
) -> None:
    Endpoint.objects.update(events=[events.STARTED])
    operation = start()
    assert deliver() == 1
    assert duties.cast_net() == 0
    if is_gone:
        Operation.objects.all().delete()
    else:
        assert lifecycle.succeed(operation)
    assert duties.cast_net() == 1
    assert deliver() == 0
    assert row().state == Delivery.State.DELIVERED


def test_net__takes_rows_in_turns(
    endpoint: Endpoint, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duties, "NET_ROWS", 2)
    monkeypatch.setattr(hints, "give", lambda _operation: None)
    Turn.objects.create(duty=duties.NET, due_at=after(0))
    for _ in range(5):
        finish(start())
    assert [duties.cast_net() for _ in range(4)] == [2, 2, 1, 0]


def test_net__costs_few_statements(
    endpoint: Endpoint, start: Any, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(5):
        start()
    with django_assert_max_num_queries(4):
        duties.cast_net()


def test_due_deliveries__have_a_worker_started(
    endpoint: Endpoint, start: Any, published: list[str]
) -> None:
    assert duties.start_due() == 0
    finish(start())
    published.clear()
    assert duties.start_due() == 1
    assert published == ["deliver"]


def test_operation_that_is_gone__loses_no_delivery(
    user: AbstractBaseUser, receiver: Receiver, deliver: Deliver
) -> None:
    make_endpoint(user, receiver.url, whole=True)
    operation = services.submit(refuse, owner=str(user.pk))
    run_operations()
    operation.refresh_from_db()
    services.delete(operation)
    duties.cast_net()
    assert deliver() == 1
    (message,) = receiver.messages
    assert message["type"] == "operation.failed"
    assert message["data"]["gone"] is True
    assert message["data"]["status"] == "failed"
    assert "error" not in message["data"]


def test_operation_without_a_row__keeps_its_message(
    endpoint: Endpoint, start: Any, receiver: Receiver, deliver: Deliver
) -> None:
    receiver.answer = answering(500)
    finish(start())
    deliver()
    Operation.objects.all().delete()
    receiver.answer = answering(200)
    make_due()
    assert deliver() == 1
    assert receiver.messages[0] == receiver.messages[1]
    assert row().state == Delivery.State.DELIVERED


@pytest.mark.parametrize("names", [ALL, [events.EXPIRED]])
def test_operation_without_a_row__has_expired(
    names: list[str], endpoint: Endpoint, start: Any, receiver: Receiver, deliver: Deliver
) -> None:
    """The purge may come before anybody has seen that the operation expired."""
    Endpoint.objects.update(events=names)
    finish(start())
    deliver()
    Operation.objects.all().delete()
    duties.cast_net()
    assert deliver() == 1
    assert receiver.types[-1] == events.EXPIRED
    assert row().state == Delivery.State.DELIVERED


@pytest.mark.parametrize("names", [ALL, [events.EXPIRED]])
def test_operation_whose_row_goes_before_any_look__has_expired(
    names: list[str], endpoint: Endpoint, start: Any, receiver: Receiver, deliver: Deliver
) -> None:
    Endpoint.objects.update(events=names)
    start()
    Operation.objects.all().delete()
    duties.cast_net()
    assert deliver() == 1
    assert receiver.types == [events.EXPIRED]
    assert row().state == Delivery.State.DELIVERED


def test_operation_without_a_row_and_event__ends_the_delivery(
    endpoint: Endpoint, start: Any, deliver: Deliver
) -> None:
    start()
    Operation.objects.all().delete()
    Delivery.objects.update(is_told=True)
    duties.cast_net()
    assert deliver() == 0
    assert row().state == Delivery.State.DELIVERED


def test_whole_document__is_sent_and_not_kept(
    user: AbstractBaseUser, receiver: Receiver, start: Any, deliver: Deliver
) -> None:
    make_endpoint(user, receiver.url, whole=True)
    operation = start()
    finish(operation)
    deliver()
    (message,) = receiver.messages
    assert message["data"]["attempt"] == 1
    assert message["data"]["links"]["self"].startswith("https://example.org/api/")
    assert row().body == ""
    assert replays.replay(row()) == 1
    Operation.objects.update(expires_at=after(0))
    deliver()
    assert receiver.messages[1]["data"]["gone"] is True
    assert receiver.ids[0] == receiver.ids[1]


def test_url_secret_and_state__are_read_at_each_try(
    endpoint: Any, start: Any, receiver: Receiver, deliver: Deliver
) -> None:
    receiver.answer = answering(500)
    finish(start())
    deliver()
    with receiving() as other:
        replays.change_url(endpoint, other.url)
        secret = endpoint.renew_secret()
        endpoint.save()
        make_due()
        deliver()
        other.verify(secret)
        other.verify(endpoint.plain_secret)
        assert len(other.requests) == 1


def test_disabled_or_deleted_endpoint__closes_its_deliveries(
    endpoint: Endpoint, start: Any, receiver: Receiver, deliver: Deliver
) -> None:
    first, second = start(), start()
    Endpoint.objects.update(state=Endpoint.State.DISABLED)
    finish(first)
    deliver()
    Endpoint.objects.all().delete()
    finish(second)
    deliver()
    assert receiver.requests == []
    assert set(Delivery.objects.values_list("state", flat=True)) == {Delivery.State.CLOSED}


def test_secret_that_cannot_be_read__is_a_refusal_in_the_ledger(
    endpoint: Endpoint, start: Any, receiver: Receiver, deliver: Deliver, settings: Settings
) -> None:
    settings.SECRET_KEY = "another" * 10
    finish(start())
    deliver()
    assert receiver.requests == []
    assert DeliveryTry.objects.get().error == "The secret cannot be read: make a new one."


def test_secret_that_cannot_be_read__does_not_keep_a_new_one_from_signing(
    endpoint: Any, start: Any, receiver: Receiver, deliver: Deliver, settings: Settings
) -> None:
    settings.SECRET_KEY = "another" * 10
    secret = endpoint.renew_secret()
    endpoint.save()
    finish(start())
    deliver()
    receiver.verify(secret)
    assert receiver.types == ["operation.succeeded"]


@pytest.mark.parametrize("form", ["thin", "whole"])
def test_message_that_cannot_be_written__holds_up_no_other(
    form: str,
    user: AbstractBaseUser,
    endpoint: Endpoint,
    start: Any,
    receiver: Receiver,
    deliver: Deliver,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with receiving() as other:
        unwritable = make_endpoint(user, other.url, base_url="no URL", whole=form == "whole")
        finish(start())
        finish(start())
        deliver()
        assert receiver.types == ["operation.succeeded"] * 2
        assert other.requests == []
        assert {row.error for row in DeliveryTry.objects.filter(status=None)} == {
            "Our server cannot write this message now."
        }
        assert "cannot be written" in caplog.text
        Delivery.objects.filter(endpoint=unwritable.pk).update(base_url="https://example.org")
        make_due()
        deliver()
        assert other.types == ["operation.succeeded"] * 2


def test_refusal__delays_no_other_message_to_the_host(
    user: AbstractBaseUser, endpoint: Endpoint, start: Any, receiver: Receiver, deliver: Deliver
) -> None:
    Endpoint.objects.update(secret="unreadable")
    finish(start())
    make_endpoint(user, receiver.url)
    Delivery.objects.update(due_at=after(-5))
    finish(start())
    Endpoint.objects.exclude(secret="unreadable").update(owner="other")
    deliver()
    assert receiver.types == ["operation.succeeded"]


def test_replay__sends_the_same_message_again(
    endpoint: Any, start: Any, receiver: Receiver, deliver: Deliver
) -> None:
    finish(start())
    deliver()
    assert replays.replay(row()) == 1
    assert replays.replay(row()) == 0
    deliver()
    assert receiver.requests[0][1] == receiver.requests[1][1]
    assert len(set(receiver.ids)) == 1
    assert row().state == Delivery.State.DELIVERED


def test_replay_since__sends_all_that_ended_since(
    endpoint: Endpoint, start: Any, receiver: Receiver, deliver: Deliver
) -> None:
    for _ in range(3):
        finish(start())
    deliver()
    oldest = Delivery.objects.order_by("id").first()
    assert oldest is not None
    Delivery.objects.filter(pk=oldest.pk).update(ended_at=after(-7200))
    assert replays.replay_since(endpoint, timezone.now() - timedelta(hours=1)) == 2


def test_replay_since__leaves_none_out(
    endpoint: Endpoint, start: Any, deliver: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replays, "REPLAYED_ROWS", 2)
    for _ in range(5):
        finish(start())
    deliver()
    assert replays.replay_since(endpoint, timezone.now() - timedelta(hours=1)) == 5
    assert Delivery.objects.filter(state=Delivery.State.OPEN).count() == 5


def test_test_message__is_delivered(
    endpoint: Any, receiver: Receiver, deliver: Deliver, published: list[str]
) -> None:
    replays.send_test(endpoint)
    assert published == ["deliver"]
    deliver()
    assert receiver.types == ["webhook.test"]
    receiver.verify(endpoint.plain_secret)
    assert row().state == Delivery.State.DELIVERED


def test_removed_owner__hears_of_the_end_and_nothing_of_a_later_owner_of_its_name(
    user: AbstractBaseUser,
    endpoint: Endpoint,
    start: Any,
    receiver: Receiver,
    deliver: Deliver,
    settings: Settings,
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "USER_DELETED": "remove"}
    services.submit(echo, owner=str(user.pk))
    pk = user.pk
    user.delete()
    hints.mark()
    deliver()
    assert receiver.types == ["operation.canceled"]
    User.objects.create(pk=pk, username="another")
    finish(start())
    deliver()
    assert len(receiver.types) == 1
    assert Delivery.objects.exists()
    assert not Delivery.objects.filter(owner=str(pk)).exists()
    duties.purge()
    assert Endpoint.objects.exists()
    Delivery.objects.update(ended_at=timezone.now() - timedelta(days=365))
    duties.purge()
    assert not Endpoint.objects.exists()


def test_old_deliveries__are_purged_with_their_ledger(
    endpoint: Endpoint, start: Any, deliver: Deliver
) -> None:
    finish(start())
    deliver()
    assert duties.purge() == 0
    Delivery.objects.update(ended_at=after(-31 * 24 * 3600))
    assert duties.purge() == 1
    assert not DeliveryTry.objects.exists()


def test_message__is_compact_json(endpoint: Endpoint, start: Any, deliver: Deliver) -> None:
    finish(start())
    deliver()
    body = row().body
    assert json.dumps(json.loads(body), separators=(",", ":")) == body
