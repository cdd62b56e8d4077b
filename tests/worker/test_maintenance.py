import time
from datetime import timedelta
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.utils import timezone
from pytest_django import Settings

from async_reply import lifecycle, services
from async_reply.attempts import rescue
from async_reply.models import Operation, OperationAttempt
from async_reply.services import retention
from async_reply.status import Status
from async_reply.worker import duties
from async_reply.worker.maintenance import Duty, Maintenance
from tests.project.tasks import echo, persist

pytestmark = pytest.mark.django_db


def lose(task: Any = echo) -> Operation:
    operation = services.submit(task)
    assert lifecycle.claim(operation, worker="w1")
    Operation.objects.filter(pk=operation.pk).update(
        lease_expires_at=timezone.now() - timedelta(seconds=1)
    )
    return operation


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


def test_duty__pauses_longer_while_it_finds_no_work() -> None:
    duty = Duty("idle", 1, lambda: 0)
    pauses = []
    for _ in range(4):
        duty.schedule(changed=0)
        pauses.append(duty.pause_seconds)
    assert pauses == [2, 4, 5, 5]
    duty.schedule(changed=1)
    assert duty.pause_seconds == 1


def test_run__logs_a_failure_once_and_delays_the_rescue(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ran: list[str] = []

    def fail() -> int:
        ran.append("fail")
        raise OperationalError

    def rescue() -> int:
        ran.append("rescue")
        return 1

    duties = [Duty("fail", 0.001, fail), Duty("rescue", 0.001, rescue, rescues=True)]
    thread = Maintenance(duties)
    for duty in duties * 2:
        duty.due_at = 0
        thread._run(duty)
    assert ran == ["fail", "fail"]
    assert caplog.text.count("Maintenance duty fail failed") == 1


@pytest.mark.django_db(transaction=True)
def test_thread__runs_until_it_is_stopped() -> None:
    lose()
    thread = Maintenance([Duty("rescue", 0.01, rescue.rescue, rescues=True)])
    thread.start()
    give_up = time.monotonic() + 10
    while Operation.objects.get().status != Status.PENDING:
        assert time.monotonic() < give_up
    thread.stop()
    assert not thread.is_alive()


def test_command__does_one_turn(broker: list[str]) -> None:
    lose()
    output = StringIO()
    call_command("async_reply_maintain", once=True, stdout=output)
    assert output.getvalue() == "1 operations published, rescued or purged.\n"


@pytest.mark.django_db(transaction=True)
def test_command__names_the_duties_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise OperationalError("connection refused")

    lose()
    monkeypatch.setattr(duties, "relay", SimpleNamespace(publish_due=refuse, republish_lost=refuse))
    monkeypatch.setattr(retention, "purge", refuse)
    with pytest.raises(CommandError, match="relay, republish, purge"):
        call_command("async_reply_maintain", once=True, stdout=StringIO())


@pytest.mark.django_db(transaction=True)
def test_turn__goes_on_after_an_error_of_one_duty() -> None:
    def fail() -> int:
        raise ZeroDivisionError

    operation = lose()
    thread = Maintenance([Duty("purge", 1, fail), Duty("rescue", 1, rescue.rescue, rescues=True)])
    assert thread.turn() == 1
    operation.refresh_from_db()
    assert operation.status == Status.PENDING


@pytest.mark.parametrize("changed", [0, 1, 199, 200, 500])
@pytest.mark.parametrize("drains", [True, False])
def test_duty__that_drains_is_due_at_once_after_a_full_batch(changed: int, drains: bool) -> None:
    duty = Duty("purge", 60, lambda: changed, drains=drains)
    before = time.monotonic()
    duty.schedule(changed=changed)
    assert (duty.due_at - before < 1) is (drains and changed >= 200)


def test_turn__slow_database_delays_the_rescue(settings: Settings) -> None:
    settings.ASYNC_REPLY = {"LEASE": 0.1}
    ran: list[str] = []

    def slow() -> int:
        give_up = time.monotonic() + 0.05
        while time.monotonic() < give_up:
            pass
        return 0

    def rescue() -> int:
        ran.append("rescue")
        return 0

    thread = Maintenance([Duty("slow", 9, slow), Duty("rescue", 0.01, rescue, rescues=True)])
    assert thread.turn() == 0
    assert ran == []
    give_up = time.monotonic() + 10
    while not ran:
        thread.turn()
        assert time.monotonic() < give_up


def test_turn__slow_broker_delays_no_rescue(settings: Settings) -> None:
    settings.ASYNC_REPLY = {"LEASE": 0.03}
    ran: list[str] = []

    def slow() -> int:
        time.sleep(0.05)
        return 1

    def rescue() -> int:
        ran.append("rescue")
        return 1

    thread = Maintenance(
        [Duty("relay", 9, slow, publishes=True), Duty("rescue", 0.01, rescue, rescues=True)]
    )
    thread.turn()
    assert ran == ["rescue"]


def test_turn__logs_a_failure_again_after_a_success(caplog: pytest.LogCaptureFixture) -> None:
    answers = iter([KeyError("a"), None, KeyError("b")])

    def sometimes() -> int:
        if error := next(answers):
            raise error
        return 0

    duty = Duty("odd", 1, sometimes)
    thread = Maintenance([duty])
    for _ in range(3):
        duty.due_at = 0
        thread.turn()
    assert caplog.text.count("Maintenance duty odd failed") == 2


def test_stop__before_the_start_runs_no_duty() -> None:
    ran: list[int] = []

    def function() -> int:
        ran.append(1)
        return 1

    thread = Maintenance([Duty("any", 1, function)])
    thread.stop()
    assert (thread.turn(), ran) == (0, [])


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
