from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from async_reply import lifecycle, services, signals
from async_reply.exceptions import (
    AlreadyFinished,
    NotCancelable,
)
from async_reply.models import Operation
from async_reply.services import cancellation
from async_reply.status import Status
from async_reply.testing import run_operations
from tests.project import tasks

pytestmark = pytest.mark.django_db


def test_cancel__pending_is_canceled_at_once() -> None:
    operation = services.submit(tasks.echo)
    assert services.cancel(operation) == Status.CANCELED
    assert (operation.status, operation.attempt) == (Status.CANCELED, 0)


def test_cancel__reads_a_row_that_has_changed_again() -> None:
    operation = services.submit(tasks.echo)
    stale = Operation.objects.get(pk=operation.pk)
    lifecycle.claim(operation, worker="w")
    assert services.cancel(stale) == Status.CANCELING


def test_cancel__finished_is_refused() -> None:
    operation = services.submit(tasks.echo)
    run_operations()
    with pytest.raises(AlreadyFinished):
        services.cancel(operation)


def test_cancel__running_of_an_uncancelable_kind_is_refused() -> None:
    operation = services.submit(tasks.persist)
    stale = Operation.objects.get(pk=operation.pk)
    lifecycle.claim(operation, worker="w")
    with pytest.raises(NotCancelable):
        services.cancel(stale)


@pytest.mark.django_db(transaction=True)
def test_cancel__sends_the_signal() -> None:
    heard: list[Status] = []

    def listen(status: Status, **_: Any) -> None:
        heard.append(status)

    signals.operation_finished.connect(listen)
    try:
        services.cancel(services.submit(tasks.echo))
    finally:
        signals.operation_finished.disconnect(listen)
    assert heard == [Status.CANCELED]


def test_is_cancelable__unknown_kind_can_be_canceled() -> None:
    assert cancellation.is_cancelable(Operation(kind="gone.task"))


@pytest.mark.parametrize("ended", ["claimed", "retried", "released", "rescued"])
def test_cancel__uncancelable_kind_is_refused_after_the_first_attempt_began(ended: str) -> None:
    """An operation between two attempts may have done a part of its work."""
    operation = services.submit(tasks.persist)
    Operation.objects.update(max_retries=1, max_losses=1)
    early = Operation.objects.get()
    assert lifecycle.claim(operation, worker="w")
    if ended == "retried":
        assert lifecycle.retry(operation, delay=0)
    elif ended == "released":
        assert lifecycle.release(operation)
    elif ended == "rescued":
        Operation.objects.update(lease_expires_at=timezone.now() - timedelta(hours=1))
        assert lifecycle.rescue(Operation.objects.get()) == Status.PENDING
    for operation in (Operation.objects.get(), early):
        with pytest.raises(NotCancelable):
            services.cancel(operation)
    assert Operation.objects.get().status in {Status.PENDING, Status.RUNNING}


def test_cancel__uncancelable_kind_is_canceled_before_the_first_attempt() -> None:
    assert services.cancel(services.submit(tasks.persist)) == Status.CANCELED


def test_cancel__other_kinds_are_canceled_between_attempts() -> None:
    operation = services.submit(tasks.echo)
    early = Operation.objects.get()
    assert lifecycle.claim(operation, worker="w")
    assert lifecycle.release(operation)
    assert services.cancel(early) == Status.CANCELED
