"""One task of a worker delivers: posts beside each other, and no second task meanwhile."""

import time
from typing import Any

import pytest
from celery import current_app
from django.contrib.auth.models import AbstractBaseUser

from async_reply import services
from async_reply.contrib.webhooks import hints, rounds, tasks
from async_reply.contrib.webhooks.models import Delivery, DeliveryTry
from async_reply.testing import run_operations
from tests.contrib.webhooks.conftest import make_endpoint
from tests.contrib.webhooks.receivers import Receiver, hanging, receiving
from tests.project.tasks import echo

pytestmark = pytest.mark.django_db


def submit_and_run(user: AbstractBaseUser, *, count: int) -> None:
    for _ in range(count):
        services.submit(echo, owner=str(user.pk))
    run_operations()
    hints.mark()


def test_task__delivers_all_that_is_due(
    user: AbstractBaseUser, endpoint: Any, receiver: Receiver
) -> None:
    submit_and_run(user, count=4)
    assert not rounds.deliver()
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
        rounds.deliver()
        assert time.monotonic() - began_at > 1.5
    fast = DeliveryTry.objects.filter(status=204).order_by("id").values_list("posted_at", flat=True)
    late = DeliveryTry.objects.filter(status=None).earliest("id").posted_at
    assert len(fast) == 3
    assert all(moment < late for moment in fast)


def test_second_task__leaves_the_work_to_the_first() -> None:
    with rounds._turn() as first, rounds._turn() as second:
        assert (first, second) == (True, False)
        assert not rounds.deliver()
    with rounds._turn() as third:
        assert third


def test_task__is_known_by_its_name() -> None:
    assert current_app.tasks[tasks.NAME] is not None
