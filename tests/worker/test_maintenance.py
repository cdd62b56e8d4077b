import asyncio
import time
from io import StringIO
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from pytest_django import Settings

from async_reply.attempts import rescue
from async_reply.models import Operation
from async_reply.services import retention
from async_reply.status import Status
from async_reply.worker import duties
from async_reply.worker.maintenance import Duty, Maintenance
from tests.attempts.lost import lose

pytestmark = pytest.mark.django_db


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
@pytest.mark.parametrize("error", [ZeroDivisionError, asyncio.CancelledError])
def test_turn__goes_on_after_an_error_of_one_duty(error: type[BaseException]) -> None:
    def fail() -> int:
        raise error

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
