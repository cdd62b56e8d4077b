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


def test_rescue__runs_again_and_keeps_a_record() -> None:
    operation = lose()
    assert rescue.rescue() == 1
    operation.refresh_from_db()
    assert (operation.status, operation.losses, operation.published_at) == ("pending", 1, None)
    kept = OperationAttempt.objects.get()
    assert (kept.number, kept.worker, kept.outcome) == (1, "w1", "lost")
    assert rescue.rescue() == 0


def test_rescue__fails_what_must_not_be_repeated() -> None:
    operation = lose(persist)
    assert rescue.rescue() == 1
    operation.refresh_from_db()
    assert (operation.status, (operation.error or {})["code"]) == (Status.FAILED, "worker-lost")


def test_rescue__ends_what_was_being_canceled() -> None:
    operation = lose()
    services.cancel(Operation.objects.get())
    assert rescue.rescue() == 1
    operation.refresh_from_db()
    assert operation.status == Status.CANCELED


def test_rescue__of_what_another_rescued_before() -> None:
    lose()
    seen = Operation.objects.get()
    assert rescue.rescue() == 1
    assert not rescue._rescue(seen)


def test_rescue__of_what_is_out_of_time_has_timed_out() -> None:
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
    assert not rescue.take_back(operation.pk, worker="w1/8", timed_out=timed_out)
    assert rescue.take_back(operation.pk, worker="w1/7", timed_out=timed_out)
    operation.refresh_from_db()
    assert (operation.status, OperationAttempt.objects.get().outcome) == (status, outcome)
    assert not rescue.take_back(operation.pk, worker="w1/7", timed_out=timed_out)


def test_step__pauses_longer_while_nothing_is_due() -> None:
    step = Duty("idle", 1, lambda: 0)
    pauses = []
    for _ in range(4):
        step.schedule(changed=0)
        pauses.append(step.pause_seconds)
    assert pauses == [2, 4, 5, 5]
    step.schedule(changed=1)
    assert step.pause_seconds == 1


def test_turn__goes_on_after_a_failure_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    ran: list[str] = []

    def fail() -> int:
        ran.append("fail")
        raise OperationalError

    def rescue() -> int:
        ran.append("rescue")
        return 1

    steps = [Duty("fail", 0.001, fail), Duty("rescue", 0.001, rescue, rescues=True)]
    thread = Maintenance(steps)
    for step in steps * 2:
        step.due_at = 0
        thread._run(step)
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
    told = StringIO()
    call_command("async_reply_maintain", once=True, stdout=told)
    assert told.getvalue() == "1 operations published, rescued or purged.\n"


@pytest.mark.django_db(transaction=True)
def test_command__names_the_steps_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise OperationalError("connection refused")

    lose()
    monkeypatch.setattr(duties, "relay", SimpleNamespace(publish_due=refuse, republish_lost=refuse))
    monkeypatch.setattr(retention, "purge", refuse)
    told = StringIO()
    with pytest.raises(CommandError, match="relay, republish, purge"):
        call_command("async_reply_maintain", once=True, stdout=told)


@pytest.mark.django_db(transaction=True)
def test_turn__defect_of_one_step_does_not_keep_others_from_rescuing() -> None:
    def fail() -> int:
        raise ZeroDivisionError

    operation = lose()
    thread = Maintenance([Duty("purge", 1, fail), Duty("rescue", 1, rescue.rescue, rescues=True)])
    assert thread.turn() == 1
    operation.refresh_from_db()
    assert operation.status == Status.PENDING


@pytest.mark.parametrize("found", [0, 1, 199, 200, 500])
@pytest.mark.parametrize("drains", [True, False])
def test_step__whole_batches_are_drained_at_once(found: int, drains: bool) -> None:
    step = Duty("purge", 60, lambda: found, drains=drains)
    before = time.monotonic()
    step.schedule(changed=found)
    assert (step.due_at - before < 1) is (drains and found >= 200)


def test_turn__slow_database_is_trouble_too(settings: Settings) -> None:
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


def test_turn__slow_broker_says_nothing_of_leases(settings: Settings) -> None:
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


def test_turn__says_again_when_it_fails_again(caplog: pytest.LogCaptureFixture) -> None:
    answers = iter([KeyError("a"), None, KeyError("b")])

    def sometimes() -> int:
        if error := next(answers):
            raise error
        return 0

    step = Duty("odd", 1, sometimes)
    thread = Maintenance([step])
    for _ in range(3):
        step.due_at = 0
        thread.turn()
    assert caplog.text.count("Maintenance duty odd failed") == 2


def test_stop__before_it_began() -> None:
    ran: list[int] = []

    def step() -> int:
        ran.append(1)
        return 1

    thread = Maintenance([Duty("any", 1, step)])
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
def test_take_back__from_a_worker_that_stops_costs_nothing(
    max_losses: int, timed_out: bool, status: Status, outcome: str
) -> None:
    """A pool kills a process that releases its job too slowly."""
    operation = services.submit(echo)
    Operation.objects.update(max_losses=max_losses)
    assert lifecycle.claim(operation, worker="w1/7")
    assert rescue.take_back(operation.pk, worker="w1/7", timed_out=timed_out, stopping=True)
    operation.refresh_from_db()
    assert (operation.status, operation.losses) == (status, 0)
    assert OperationAttempt.objects.get().outcome == outcome


@pytest.mark.django_db
def test_take_back__from_a_worker_that_stops_while_canceling() -> None:
    operation = services.submit(echo)
    assert lifecycle.claim(operation, worker="w1/7")
    services.cancel(operation)
    assert rescue.take_back(operation.pk, worker="w1/7", timed_out=False, stopping=True)
    operation.refresh_from_db()
    assert operation.status == Status.CANCELED
