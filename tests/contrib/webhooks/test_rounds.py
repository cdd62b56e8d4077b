"""One task of a worker delivers: posts beside each other, and no second task meanwhile."""

import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from celery import current_app
from django.contrib.auth.models import AbstractBaseUser
from django.db import IntegrityError

from async_reply import services
from async_reply.contrib.webhooks import deliveries, duties, hints, rounds, tasks
from async_reply.contrib.webhooks.models import Delivery, DeliveryTry
from async_reply.database.clock import after
from async_reply.testing import run_operations
from tests.contrib.webhooks.conftest import make_endpoint
from tests.contrib.webhooks.receivers import Receiver, answering, hanging, receiving
from tests.project.tasks import echo

pytestmark = pytest.mark.django_db


def submit_and_run(user: AbstractBaseUser, *, count: int) -> None:
    for _ in range(count):
        services.submit(echo, owner=str(user.pk))
    run_operations()
    hints.mark()


def fail() -> None:
    """Nothing is left for another task."""
    pytest.fail("Another task was started.")


def test_task__delivers_all_that_is_due(
    user: AbstractBaseUser, endpoint: Any, receiver: Receiver
) -> None:
    submit_and_run(user, count=4)
    rounds.deliver(go_on=fail)
    assert len(set(receiver.ids)) == 4
    assert set(Delivery.objects.values_list("state", flat=True)) == {Delivery.State.DELIVERED}


def test_slow_receiver__keeps_no_other_from_its_messages(
    user: AbstractBaseUser, receiver: Receiver
) -> None:
    with receiving("127.0.0.2") as slow:
        slow.answer = hanging(1.5)
        make_endpoint(user, slow.url)
        make_endpoint(user, receiver.url)
        submit_and_run(user, count=3)
        began_at = time.monotonic()
        rounds.deliver(go_on=fail)
        assert time.monotonic() - began_at > 1.5
    fast = DeliveryTry.objects.filter(status=204).order_by("id").values_list("posted_at", flat=True)
    late = DeliveryTry.objects.filter(status=None).earliest("id").posted_at
    assert len(fast) == 3
    assert all(moment < late for moment in fast)


def test_receivers_that_hang__hold_up_no_other(
    user: AbstractBaseUser,
    stranger: AbstractBaseUser,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As many as there are places, and all of them were due earlier."""
    is_told = threading.Event()

    def hang(handler: BaseHTTPRequestHandler) -> None:
        is_told.wait(60)
        answering(204)(handler)

    def end(handler: BaseHTTPRequestHandler) -> None:
        is_told.set()
        answering(204)(handler)

    monkeypatch.setattr(rounds, "NEW_SECONDS", 0.1)
    with receiving("0.0.0.0") as hanging_hosts:
        hanging_hosts.answer = hang
        for number in range(rounds.MAX_NEW_POSTS):
            make_endpoint(user, hanging_hosts.url.replace("0.0.0.0", f"127.0.0.{number + 2}"))
        submit_and_run(user, count=1)
        receiver.answer = end
        make_endpoint(stranger, receiver.url)
        submit_and_run(stranger, count=1)
        Delivery.objects.exclude(owner=str(stranger.pk)).update(due_at=after(-60))
        rounds.deliver(go_on=fail)
    # None of those that hang had to be left at the deadline first.
    assert list(DeliveryTry.objects.exclude(error="").values_list("error", flat=True)) == []
    assert len(hanging_hosts.requests) == rounds.MAX_NEW_POSTS
    assert DeliveryTry.objects.count() == rounds.MAX_NEW_POSTS + 1


def test_posts__have_a_bound(
    user: AbstractBaseUser, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many receivers hang."""
    monkeypatch.setattr(rounds, "NEW_SECONDS", 0.0)
    monkeypatch.setattr(rounds, "MAX_POSTS", 3)
    claimed: list[int] = []
    claim_due = deliveries.claim_due

    def claim(most: int, **options: Any) -> list[deliveries.Message]:
        messages = claim_due(most, **options)
        claimed.append(len(messages))
        return messages

    monkeypatch.setattr(deliveries, "claim_due", claim)
    with receiving("0.0.0.0") as hosts:
        hosts.answer = hanging(0.5)
        for number in range(5):
            make_endpoint(user, hosts.url.replace("0.0.0.0", f"127.0.0.{number + 2}"))
        submit_and_run(user, count=1)
        rounds.deliver(go_on=fail)
    assert claimed[0] == 3
    assert sum(claimed) == 5


def test_task_whose_time_is_over__gives_its_turn_to_another_before_the_last_answer(
    user: AbstractBaseUser, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "CLAIM_SECONDS", 0.2)
    monkeypatch.setattr(rounds, "MAX_NEW_POSTS", 1)
    is_told = threading.Event()
    turns: list[bool] = []

    def hang(handler: BaseHTTPRequestHandler) -> None:
        is_told.wait(60)
        answering(204)(handler)

    def go_on() -> None:
        with rounds._turn() as has_turn:
            turns.append(has_turn)
        is_told.set()

    with receiving("127.0.0.2") as other:
        receiver.answer = other.answer = hang
        make_endpoint(user, receiver.url)
        make_endpoint(user, other.url)
        submit_and_run(user, count=1)
        rounds.deliver(go_on=go_on)
    assert turns == [True]
    assert [row.status for row in DeliveryTry.objects.all()] == [204]


def test_messages_to_a_host_that_has_one_already__start_no_task(
    user: AbstractBaseUser, endpoint: Any, published: list[str]
) -> None:
    """Another worker posts to it, or has died. Tasks would start each other until then."""
    submit_and_run(user, count=2)
    assert len(deliveries.claim_due(20)) == 1
    published.clear()
    rounds.deliver(go_on=fail)
    assert duties.start_due() == 0
    assert published == []


def test_second_task__leaves_the_work_to_the_first() -> None:
    with rounds._turn() as first, rounds._turn() as second:
        assert (first, second) == (True, False)
        rounds.deliver(go_on=fail)
    with rounds._turn() as third:
        assert third


def test_task__is_known_by_its_name() -> None:
    assert current_app.tasks[tasks.NAME] is not None


def test_limits_of_the_project__end_no_task() -> None:
    """They may be shorter than a post that a slow receiver answers."""
    task: Any = tasks.deliver
    longest = rounds.CLAIM_SECONDS + deliveries.LEASE_SECONDS
    assert task.time_limit > task.soft_time_limit > longest


def test_container_without_a_folder_to_write_to__delivers(
    user: AbstractBaseUser, endpoint: Any, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find() -> str:
        raise FileNotFoundError

    monkeypatch.setattr(tempfile, "gettempdir", find)
    submit_and_run(user, count=2)
    rounds.deliver(go_on=fail)
    assert len(set(receiver.ids)) == 2


def test_answer_that_cannot_be_recorded__loses_no_other(
    user: AbstractBaseUser, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The project may have deleted the delivery meanwhile."""
    record = deliveries.record
    refused: list[Any] = []

    def refuse_one(message: deliveries.Message, answer: Any) -> None:
        if not refused:
            refused.append(message.delivery.pk)
            raise IntegrityError
        record(message, answer)

    monkeypatch.setattr(deliveries, "record", refuse_one)
    with receiving("127.0.0.2") as other:
        make_endpoint(user, other.url)
        make_endpoint(user, receiver.url)
        submit_and_run(user, count=1)
        rounds.deliver(go_on=fail)
    delivered = Delivery.objects.filter(state=Delivery.State.DELIVERED)
    assert delivered.count() == 1
    assert Delivery.objects.get(pk=refused[0]).state == Delivery.State.OPEN
