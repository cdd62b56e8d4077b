"""Attempts that end from outside: by a signal, a stop of the worker, or the time limit."""

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from async_reply import lifecycle, services
from async_reply.attempts import (
    causes,
    claims,
    heartbeats,
    interrupts,
    outages,
    reports,
    rescue,
    runner,
)
from async_reply.attempts.claims import Claim
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.attempts.reports import Ending, Report
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

#: Signals by which pools and supervisors end a process in the middle of a job.
SIGNALS = [signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGINT, signal.SIGABRT]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(causes, "REASON_SECONDS", 30.0)


@pytest.fixture
def stopping() -> Iterator[interrupts.SharedFlag]:
    yield interrupts.stopping
    interrupts.stopping.clear()


def run(function: Callable[[Job], Any], *, max_losses: int = 2, **options: Any) -> Report:
    operation = services.submit(echo)
    Operation.objects.filter(pk=operation.pk).update(max_losses=max_losses, max_retries=1)
    return runner.run(operation.pk, Kind(name=echo.name, function=function), worker="w", **options)


def row() -> Operation:
    operation: Operation = Operation.objects.get()
    return operation


def exits(number: int, before: Callable[[Job], object] = lambda operation: None) -> Any:
    """A job whose process Celery's pool ends, after the job has called `before`."""

    def job(operation: Job) -> None:
        operation.progress(7, message="page 7")
        before(operation)
        sys.exit(-(256 - number))

    return job


@pytest.mark.parametrize(
    ("error", "ends_process"),
    [
        *((SystemExit(number - 256), True) for number in SIGNALS),
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
def test_ends_process__knows_the_exit_codes_of_a_pool(
    error: BaseException, ends_process: bool
) -> None:
    assert interrupts.ends_process(error) is ends_process


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("number", SIGNALS)
def test_exit__when_the_worker_stops_releases(
    number: int, late: bool, stopping: interrupts.SharedFlag, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`late`: the child gets the signal before its worker has set the flag."""
    sleep = time.sleep

    def stop_and_sleep(seconds: float) -> None:
        stopping.set()
        sleep(seconds)

    def stop(operation: Job) -> None:
        if late:
            monkeypatch.setattr(time, "sleep", stop_and_sleep)
        else:
            stopping.set()

    report = run(exits(number, stop))
    assert (report.ending, row().status, row().losses) == (Ending.AGAIN, Status.PENDING, 0)
    assert OperationAttempt.objects.get().outcome == "released"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("number", SIGNALS)
def test_exit__without_a_reason_loses_the_attempt(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs one of `max_losses`. Otherwise the operation could be repeated for ever."""
    monkeypatch.setattr(causes, "REASON_SECONDS", 0.1)
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
@pytest.mark.parametrize("number", SIGNALS)
def test_exit__without_losses_is_worker_lost_and_not_released(
    number: int, stopping: interrupts.SharedFlag
) -> None:
    with pytest.raises(SystemExit):
        run(exits(number, lambda operation: stopping.set()), max_losses=0)
    assert rescue.rescue() == 1
    assert (row().status, (row().error or {})["code"]) == (Status.FAILED, "worker-lost")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("max_losses", [0, 2])
@pytest.mark.parametrize("number", SIGNALS)
def test_exit__of_a_terminated_task_cancels(number: int, max_losses: int) -> None:
    """Celery's revoke is stored after its signal was sent."""

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
@pytest.mark.parametrize("number", SIGNALS)
def test_exit__after_the_deadline_is_a_timeout(
    number: int, stops: bool, stopping: interrupts.SharedFlag
) -> None:
    """Celery's hard time limit ends the process. The timeout counts even if the worker stops."""

    def let_time_pass(operation: Job) -> None:
        operation._claim.deadline = time.monotonic()
        if stops:
            stopping.set()

    report = run(exits(number, let_time_pass))
    assert (report.ending, (row().error or {})["code"]) == (Ending.FAILED, "timed-out")


def inside_a_transaction(operation: Job) -> None:
    """Locks its own row, then shows progress for ever."""
    with transaction.atomic():
        Operation.objects.filter(pk=operation.id).update(extra={"locked": True})
        operation._claim.deadline = time.monotonic() + 0.5
        while True:
            operation.progress(50)
            time.sleep(0.01)


@pytest.mark.django_db(transaction=True)
def test_deadline__of_a_job_that_locks_its_own_row() -> None:
    assert run(inside_a_transaction).ending is Ending.FAILED
    assert (row().error or {})["code"] == "timed-out"
    assert row().extra == {}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("call", ["progress", "track", "check_canceled"])
def test_deadline__is_checked_at_each_call_while_the_heart_hangs(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database never answers, as behind a firewall that drops packets."""
    released = threading.Event()

    def hang(claims: list[Claim]) -> None:
        released.wait(30)

    def job(operation: Job) -> None:
        time.sleep(0.1)
        operation._claim.deadline = time.monotonic()
        if call == "progress":
            operation.progress(50)
        elif call == "track":
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
def test_deadline__is_checked_while_the_database_is_away(
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
def test_beat__does_not_wait_for_its_own_job() -> None:
    operation = services.submit(echo)
    assert lifecycle.claim(operation, worker="w")
    claim = Claim(operation, inline=False)
    claim.progress = (50, "half", 0, None)
    with transaction.atomic():
        Operation.objects.select_for_update().get()
        with (
            in_thread(lambda: claims.beat([claim])) as future,
            pytest.raises(OperationalError),
        ):
            future.result(20)


@pytest.mark.django_db(transaction=True)
def test_heart__warns_once_while_it_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[int] = []

    def fail(claims: list[Claim]) -> None:
        tries.append(1)
        raise OperationalError("away")

    monkeypatch.setattr(outages, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(heartbeats, "beat", fail)
    monkeypatch.setattr(heartbeats, "_heart", heartbeats.Heart())
    run(lambda operation: until(lambda: len(tries) > 3))
    levels = [record.levelno for record in caplog.records if "Heartbeat failed" in record.message]
    assert levels.count(logging.WARNING) == 1


@pytest.mark.django_db(transaction=True)
def test_heart__warns_again_after_it_slept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last claim may end during a beat that fails."""
    heart = heartbeats.Heart()

    def fail(claims: list[Claim]) -> None:
        heart.remove(claims[0])
        raise OperationalError("away")

    monkeypatch.setattr(outages, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(heartbeats, "beat", fail)
    heart.add(Claim(services.submit(echo), inline=False))
    until(lambda: not heart._claims and bool(heart._changed._waiters))  # type: ignore[attr-defined]
    assert not heart._is_failing


def interrupted(interruption: type[JobInterrupted] | None) -> Any:
    """A job that shows progress, and retries or is interrupted before the next beat."""

    def job(operation: Job) -> None:
        operation.progress(1, 10, "page 1")
        operation._claim._beat_at += 60
        operation.progress(7, 10, "page 7")
        if interruption is None:
            operation.retry(after=0)
        operation._claim.interruption = interruption
        # A call would make the inline job write its progress.
        raise interruption

    return job


@pytest.mark.django_db
@pytest.mark.parametrize("interruption", [None, WorkerStopping], ids=["retry", "release"])
def test_run_again__stores_the_last_progress(interruption: Any) -> None:
    assert run(interrupted(interruption), inline=True).ending is Ending.AGAIN
    assert (row().status, row().progress, row().message) == (Status.PENDING, 70, "page 7")


@pytest.mark.django_db
def test_release__warns_of_the_third_in_a_row(caplog: pytest.LogCaptureFixture) -> None:
    run(interrupted(WorkerStopping), inline=True)
    for _ in range(reports.MANY_RELEASES):
        kind = Kind(name=echo.name, function=interrupted(WorkerStopping))
        runner.run(row().pk, kind, worker="w", inline=True)
    caplog.set_level(logging.INFO)
    released = [record for record in caplog.records if "released" in record.message]
    warnings = [record.message for record in released if record.levelname == "WARNING"]
    assert len(released) == 4
    assert [" 3 times" in warning for warning in warnings] == [True]
    assert OperationAttempt.objects.filter(outcome="released").count() == 4


@pytest.mark.django_db
def test_release__after_retries_and_losses_does_not_warn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    services.submit(echo)
    Operation.objects.update(attempt=5, retries=3, losses=2)
    kind = Kind(name=echo.name, function=interrupted(WorkerStopping))
    runner.run(row().pk, kind, worker="w", inline=True)
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("inline", [True, False])
def test_fail__stores_the_last_progress(inline: bool) -> None:
    def job(operation: Job) -> None:
        operation.progress(7, 10, "page 7")
        raise OperationFailed("no more")

    run(job, inline=inline)
    assert (row().progress, row().message) == (70, "page 7")
