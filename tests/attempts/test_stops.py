"""How an attempt ends whose process, or whose time, is ended from outside."""

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from pytest_django import Settings

from async_reply import lifecycle, services
from async_reply.attempts import claims, failures, heartbeats, interrupts, rescue, runner
from async_reply.attempts.claims import Claim
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.attempts.runner import Ending, Report
from async_reply.exceptions import (
    JobInterrupted,
    OperationFailed,
    TimeLimitExceeded,
    WorkerStopping,
)
from async_reply.models import Operation, OperationAttempt
from async_reply.status import Status
from tests.concurrency import in_thread, until
from tests.project.tasks import echo

#: Signals by which pools and supervisors end a process in the midst of a job.
ENDS = [signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGINT, signal.SIGABRT]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "TICK", 0.05)
    monkeypatch.setattr(claims, "ANNOUNCED_WITHIN", 30.0)


@pytest.fixture
def stopping() -> Iterator[interrupts.Flag]:
    yield interrupts.stopping
    interrupts.stopping.clear()


def run(function: Callable[[Job], Any], *, max_losses: int = 2, **options: Any) -> Report:
    operation = services.submit(echo)
    Operation.objects.filter(pk=operation.pk).update(max_losses=max_losses, max_retries=1)
    return runner.run(operation.pk, Kind(name=echo.name, function=function), worker="w", **options)


def row() -> Operation:
    found: Operation = Operation.objects.get()
    return found


def exits(number: int, before: Callable[[Job], object] = lambda operation: None) -> Any:
    """A job in the midst of which Celery's pool ends the process."""

    def job(operation: Job) -> None:
        operation.progress(7, message="page 7")
        before(operation)
        sys.exit(-(256 - number))

    return job


@pytest.mark.parametrize(
    ("error", "ends"),
    [
        *((SystemExit(number - 256), True) for number in ENDS),
        (SystemExit(), False),
        (SystemExit(None), False),
        (SystemExit(0), False),
        (SystemExit(1), False),
        (SystemExit(-1), False),
        (SystemExit(-256), False),
        (SystemExit("-241"), False),
        (SystemExit(241), False),
        (KeyboardInterrupt(), False),
        (ZeroDivisionError(), False),
    ],
    ids=repr,
)
def test_ends_process__knows_the_exit_codes_of_a_pool(error: BaseException, ends: bool) -> None:
    assert interrupts.ends_process(error) is ends


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("number", ENDS)
def test_exit__of_a_worker_that_stops_releases(
    number: int, late: bool, stopping: interrupts.Flag, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the child hears of the signal before its worker has said that it stops."""
    sleep = time.sleep

    def stop_meanwhile(seconds: float) -> None:
        stopping.set()
        sleep(seconds)

    def stop(operation: Job) -> None:
        if late:
            monkeypatch.setattr(time, "sleep", stop_meanwhile)
        else:
            stopping.set()

    report = run(exits(number, stop))
    assert (report.ending, row().status, row().losses) == (Ending.AGAIN, Status.PENDING, 0)
    assert OperationAttempt.objects.get().outcome == "released"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("number", ENDS)
def test_exit__that_nobody_announces_loses_the_attempt(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends the process, and costs one of `max_losses`: else it could go on for ever."""
    monkeypatch.setattr(claims, "ANNOUNCED_WITHIN", 0.1)
    with pytest.raises(SystemExit):
        run(exits(number), max_losses=1)
    assert rescue.rescue() == 1
    with pytest.raises(SystemExit):
        runner.run(row().pk, Kind(name=echo.name, function=exits(number)), worker="w")
    assert rescue.rescue() == 1
    assert (row().status, row().losses) == (Status.FAILED, 1)
    assert (row().error or {})["code"] == "worker-lost"
    assert {*OperationAttempt.objects.values_list("outcome", flat=True)} == {"lost"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("number", ENDS)
def test_exit__of_a_job_that_must_not_be_repeated_is_no_failure_of_its_own(
    number: int, stopping: interrupts.Flag
) -> None:
    with pytest.raises(SystemExit):
        run(exits(number, lambda operation: stopping.set()), max_losses=0)
    assert rescue.rescue() == 1
    assert (row().status, (row().error or {})["code"]) == (Status.FAILED, "worker-lost")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("max_losses", [0, 2])
@pytest.mark.parametrize("number", ENDS)
def test_exit__of_a_job_that_is_terminated_cancels(number: int, max_losses: int) -> None:
    """Celery tells of the revoke after it has sent the signal."""

    def revoke(operation: Job) -> None:
        services.cancel(row())

    report = run(exits(number, revoke), max_losses=max_losses)
    assert (report.ending, row().status, row().message) == (
        Ending.CANCELED,
        Status.CANCELED,
        "page 7",
    )


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("stops", [False, True])
@pytest.mark.parametrize("number", ENDS)
def test_exit__past_the_deadline_has_timed_out(
    number: int, stops: bool, stopping: interrupts.Flag
) -> None:
    """So Celery's hard time limit begins; a worker that stops as well makes no difference."""

    def let_time_pass(operation: Job) -> None:
        operation._claim.deadline = time.monotonic()
        if stops:
            stopping.set()

    report = run(exits(number, let_time_pass))
    assert (report.ending, (row().error or {})["code"]) == (Ending.FAILED, "timed-out")


def inside_a_transaction(operation: Job) -> None:
    """Tells its progress for ever, while it holds its own row."""
    with transaction.atomic():
        Operation.objects.filter(pk=operation.id).update(extra={"locked": True})
        operation._claim.deadline = time.monotonic() + 0.5
        while True:
            operation.progress(50)
            time.sleep(0.01)


@pytest.mark.django_db(transaction=True)
def test_deadline__of_a_job_that_holds_its_own_row() -> None:
    assert run(inside_a_transaction).ending is Ending.FAILED
    assert (row().error or {})["code"] == "timed-out"
    assert row().extra == {}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("how", ["progress", "track", "check_canceled"])
def test_deadline__is_heard_at_each_call_while_the_heartbeat_hangs(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that swallows what it is asked, as behind a firewall that forgets."""
    released = threading.Event()

    def hang(claims: list[Claim]) -> None:
        released.wait(30)

    def job(operation: Job) -> None:
        time.sleep(0.1)
        operation._claim.deadline = time.monotonic()
        if how == "progress":
            operation.progress(50)
        elif how == "track":
            list(operation.track([1]))
        else:
            operation.check_canceled()

    monkeypatch.setattr(heartbeats, "beat", hang)
    try:
        assert run(job).ending is Ending.FAILED
    finally:
        released.set()
    assert (row().error or {})["code"] == "timed-out"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("cancel", ["cooperative", "interrupt"])
def test_deadline__is_heard_while_the_database_is_away(
    cancel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(claims: list[Claim]) -> None:
        raise OperationalError("away")

    def job(operation: Job) -> None:
        operation._claim.deadline = time.monotonic() + 0.2
        give_up = time.monotonic() + 20
        while time.monotonic() < give_up:
            if cancel == "cooperative" and operation._claim.interruption is TimeLimitExceeded:
                operation.progress(50)

    monkeypatch.setattr(heartbeats, "beat", fail)
    operation = services.submit(echo)
    kind = Kind(name=echo.name, function=job, cancel=cancel)
    assert runner.run(operation.pk, kind, worker="w").ending is Ending.FAILED
    assert (row().error or {})["code"] == "timed-out"


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="it locks no rows")
def test_beat__of_one_alone_does_not_wait_for_its_job() -> None:
    operation = services.submit(echo)
    assert lifecycle.claim(operation, worker="w")
    claim = Claim(operation, inline=False)
    claim.news = (50, "half", 0, None)
    with transaction.atomic():
        Operation.objects.select_for_update().get()
        with (
            in_thread(lambda: claims.beat([claim])) as beaten,
            pytest.raises(OperationalError),
        ):
            beaten.result(20)


@pytest.mark.django_db(transaction=True)
def test_ticker__says_once_that_it_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[int] = []

    def fail(claims: list[Claim]) -> None:
        tries.append(1)
        raise OperationalError("away")

    monkeypatch.setattr(heartbeats, "TICK_AFTER_ERROR", 0.01)
    monkeypatch.setattr(heartbeats, "beat", fail)
    monkeypatch.setattr(heartbeats, "_ticker", heartbeats.Ticker())
    run(lambda operation: until(lambda: len(tries) > 3))
    told = [record.levelno for record in caplog.records if "Heartbeat failed" in record.message]
    assert told.count(logging.WARNING) == 1


@pytest.mark.django_db(transaction=True)
def test_ticker__that_rests_has_forgotten_its_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last claim may end during the beat that fails; a later failure is news again."""
    ticker = heartbeats.Ticker()

    def fail(claims: list[Claim]) -> None:
        ticker.remove(claims[0])
        raise OperationalError("away")

    monkeypatch.setattr(heartbeats, "TICK_AFTER_ERROR", 0.01)
    monkeypatch.setattr(heartbeats, "beat", fail)
    ticker.add(Claim(services.submit(echo), inline=False))
    until(lambda: not ticker._claims and bool(ticker._changed._waiters))  # type: ignore[attr-defined]
    assert not ticker._is_failing


def told(interruption: type[JobInterrupted] | None) -> Any:
    def job(operation: Job) -> None:
        operation.progress(1, 10, "page 1")
        operation._claim._look_at += 60
        operation.progress(7, 10, "page 7")
        if interruption is None:
            operation.retry(after=0)
        operation._claim.interruption = interruption
        # Without a call, at which an inline job would show its news.
        raise interruption

    return job


@pytest.mark.django_db
@pytest.mark.parametrize("interruption", [None, WorkerStopping], ids=["retry", "release"])
def test_again__shows_what_the_job_told_last(interruption: Any) -> None:
    assert run(told(interruption), inline=True).ending is Ending.AGAIN
    assert (row().status, row().progress, row().message) == (Status.PENDING, 70, "page 7")


@pytest.mark.django_db
def test_release__that_repeats_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    run(told(WorkerStopping), inline=True)
    for _ in range(failures.MANY_RELEASES):
        kind = Kind(name=echo.name, function=told(WorkerStopping))
        runner.run(row().pk, kind, worker="w", inline=True)
    warnings = [each.message for each in caplog.records if "released" in each.message]
    assert [" 3 times" in warnings[0], " 4 times" in warnings[1], len(warnings)] == [True, True, 2]
    assert OperationAttempt.objects.filter(outcome="released").count() == 4


@pytest.mark.django_db
def test_release__after_retries_and_losses_is_no_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    services.submit(echo)
    Operation.objects.update(attempt=5, retries=3, losses=2)
    kind = Kind(name=echo.name, function=told(WorkerStopping))
    runner.run(row().pk, kind, worker="w", inline=True)
    assert not [each for each in caplog.records if "released" in each.message]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("done", [True, False])
def test_news__of_a_job_that_fails_is_not_lost(done: bool, settings: Settings) -> None:
    def job(operation: Job) -> None:
        operation.progress(7, 10, "page 7")
        raise OperationFailed("no more")

    run(job, inline=done)
    assert (row().progress, row().message) == (70, "page 7")
