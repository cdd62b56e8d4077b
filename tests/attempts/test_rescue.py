"""Operations are taken back from attempts that died, by the lease or at once."""

from datetime import timedelta

import pytest
from django.utils import timezone

from async_reply import lifecycle, services
from async_reply.attempts import rescue
from async_reply.models import Operation, OperationAttempt
from async_reply.status import Status
from tests.attempts.lost import lose
from tests.project.tasks import echo, persist

pytestmark = pytest.mark.django_db


def test_rescue__makes_it_pending_and_records_the_attempt() -> None:
    operation = lose()
    assert rescue.rescue() == 1
    operation.refresh_from_db()
    assert (operation.status, operation.losses, operation.published_at) == ("pending", 1, None)
    attempt = OperationAttempt.objects.get()
    assert (attempt.number, attempt.worker, attempt.outcome) == (1, "w1", "lost")
    assert rescue.rescue() == 0


def test_rescue__without_losses_left_fails() -> None:
    operation = lose(persist)
    assert rescue.rescue() == 1
    operation.refresh_from_db()
    assert (operation.status, (operation.error or {})["code"]) == (Status.FAILED, "worker-lost")


def test_rescue__while_canceling_ends_canceled() -> None:
    operation = lose()
    services.cancel(Operation.objects.get())
    assert rescue.rescue() == 1
    operation.refresh_from_db()
    assert operation.status == Status.CANCELED


def test_rescue__after_another_worker_did_changes_nothing() -> None:
    lose()
    stale = Operation.objects.get()
    assert rescue.rescue() == 1
    assert not rescue._rescue(stale)


def test_rescue__after_the_deadline_times_out() -> None:
    operation = lose()
    Operation.objects.update(deadline_at=timezone.now() - timedelta(seconds=1))
    assert rescue.rescue() == 1
    operation.refresh_from_db()
    assert (operation.status, (operation.error or {})["code"]) == (Status.FAILED, "timed-out")
    assert OperationAttempt.objects.get().outcome == "timed out"


@pytest.mark.parametrize(
    ("timed_out", "status", "outcome"),
    [(False, Status.PENDING, "lost"), (True, Status.FAILED, "timed out")],
)
def test_take_back__does_not_wait_for_the_lease(
    timed_out: bool, status: Status, outcome: str
) -> None:
    operation = services.submit(echo)
    assert lifecycle.claim(operation, worker="w1/7")
    assert not rescue.from_dead_process(operation.pk, worker="w1/8", timed_out=timed_out)
    assert rescue.from_dead_process(operation.pk, worker="w1/7", timed_out=timed_out)
    operation.refresh_from_db()
    assert (operation.status, OperationAttempt.objects.get().outcome) == (status, outcome)
    assert not rescue.from_dead_process(operation.pk, worker="w1/7", timed_out=timed_out)


@pytest.mark.parametrize(
    ("max_losses", "timed_out", "status", "outcome"),
    [
        (2, False, Status.PENDING, "released"),
        (0, False, Status.FAILED, "lost"),
        (2, True, Status.FAILED, "timed out"),
    ],
)
@pytest.mark.django_db
def test_take_back__from_a_stopping_worker_costs_no_loss(
    max_losses: int, timed_out: bool, status: Status, outcome: str
) -> None:
    """A pool kills a process that does not end its job in time."""
    operation = services.submit(echo)
    Operation.objects.update(max_losses=max_losses)
    assert lifecycle.claim(operation, worker="w1/7")
    assert rescue.from_dead_process(operation.pk, worker="w1/7", timed_out=timed_out, stopping=True)
    operation.refresh_from_db()
    assert (operation.status, operation.losses) == (status, 0)
    assert OperationAttempt.objects.get().outcome == outcome


@pytest.mark.django_db
def test_take_back__from_a_stopping_worker_while_canceling() -> None:
    operation = services.submit(echo)
    assert lifecycle.claim(operation, worker="w1/7")
    services.cancel(operation)
    assert rescue.from_dead_process(operation.pk, worker="w1/7", timed_out=False, stopping=True)
    operation.refresh_from_db()
    assert operation.status == Status.CANCELED
