"""One attempt from its claim to its end, in each of the ways in which it can end."""

import asyncio
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.dispatch import Signal
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings
from rest_framework.exceptions import APIException, ValidationError

from async_reply import lifecycle, services, signals
from async_reply.attempts import failures, runner
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.attempts.reports import Ending, Report
from async_reply.database import alias
from async_reply.exceptions import (
    ClaimLost,
    DatabaseAway,
    JobInterrupted,
    OperationCanceled,
    OperationFailed,
    TimeLimitExceeded,
    WorkerStopping,
)
from async_reply.models import Operation, OperationAttempt, OperationResult
from async_reply.status import Status
from tests.project.tasks import echo

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("one_statement")]


def attempt(function: Callable[[Job], Any], **options: Any) -> tuple[Report, Operation]:
    """Submit an operation and run `function` as its job."""
    operation = services.submit(echo)
    if options.get("max_retries") is not None:
        Operation.objects.update(max_retries=options["max_retries"])
    kind = Kind(name=echo.name, function=function, **options)
    report = runner.run(operation.pk, kind, worker="w1", inline=True)
    operation.refresh_from_db()
    return report, operation


def raising(error: BaseException) -> Callable[[Job], Any]:
    def job(operation: Job) -> None:
        raise error

    return job


def test_run__success_is_stored_once() -> None:
    report, operation = attempt(lambda operation: {"a": 1})
    assert report == Report(Ending.SUCCEEDED)
    assert (operation.status, operation.progress) == (Status.SUCCEEDED, 100)
    assert (operation.result.value, operation.result.attempt) == ({"a": 1}, 1)
    second_report = runner.run(operation.pk, echo.kind, worker="w2")
    assert second_report == Report(Ending.NOT_MINE)
    assert OperationResult.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_run__statements_of_a_job_that_succeeds(one_statement: bool) -> None:
    operation = services.submit(echo, input={"a": 1})
    kind = Kind(name=echo.name, function=lambda operation, a: a)
    with CaptureQueriesContext(connection) as captured:
        runner.run(operation.pk, kind, worker="w1")
    verbs = [query["sql"].split()[0] for query in captured]
    if one_statement:
        assert verbs == ["UPDATE", "WITH"]
    else:
        assert verbs == ["SELECT", "UPDATE", "BEGIN", "UPDATE", "INSERT", "COMMIT"]


def test_run__keyword_arguments_come_from_the_input() -> None:
    operation = services.submit(echo, input={"a": 1})
    kind = Kind(name=echo.name, function=lambda operation, a: a + 1)
    runner.run(operation.pk, kind, worker="w1", inline=True)
    operation.refresh_from_db()
    assert operation.result.value == 2


def ended_by_sigterm(interruption: type[JobInterrupted] | None) -> Callable[[Job], Any]:
    """A job that SIGTERM ends after `interruption` was set, if there is one."""

    def job(operation: Job) -> None:
        operation._claim.interruption = interruption
        # The signal handler in a child of Celery's prefork pool exits like this.
        sys.exit(signal.SIGTERM - 256)

    return job


@pytest.mark.parametrize(
    ("interruption", "max_losses", "ending", "outcome"),
    [
        (None, 2, Ending.FAILED, "failed"),
        (WorkerStopping, 2, Ending.AGAIN, "released"),
        (TimeLimitExceeded, 2, Ending.FAILED, "timed out"),
        (None, 0, Ending.FAILED, "failed"),
    ],
)
def test_run__exit_code_of_a_pool_ends_the_attempt_by_its_interruption(
    interruption: type[JobInterrupted] | None, max_losses: int, ending: Ending, outcome: str
) -> None:
    operation = services.submit(echo)
    Operation.objects.update(max_losses=max_losses)
    kind = Kind(name=echo.name, function=ended_by_sigterm(interruption))
    assert runner.run(operation.pk, kind, worker="w1", inline=True).ending is ending
    assert OperationAttempt.objects.get().outcome == outcome


@pytest.mark.parametrize(
    ("error", "code", "status", "detail"),
    [
        (OperationFailed("No.", code="no", status_code=422), "no", 422, "No."),
        (APIException("Busy."), "error", 409, "Busy."),
        (ValidationError("Odd."), "invalid", 400, "Odd."),
        (ZeroDivisionError("secret"), "internal-error", 409, failures.INTERNAL_ERROR),
        (SystemExit(3), "internal-error", 409, failures.INTERNAL_ERROR),
        (KeyboardInterrupt(), "internal-error", 409, failures.INTERNAL_ERROR),
        (MemoryError(), "internal-error", 409, failures.INTERNAL_ERROR),
        (TimeoutError("pool"), "timed-out", 409, "The operation exceeded its time limit."),
    ],
)
def test_run__failure_shows_the_client_no_secret(
    error: BaseException, code: str, status: int, detail: str
) -> None:
    report, operation = attempt(raising(error), timeouts=(TimeoutError,))
    assert (report.ending, report.error) == (Ending.FAILED, error)
    assert operation.status == Status.FAILED
    shown = operation.error or {}
    assert (shown["code"], shown["status"], shown["detail"]) == (code, status, detail)
    row = OperationAttempt.objects.get()
    assert (row.number, row.worker) == (1, "w1")
    assert type(error).__name__ in row.traceback


@pytest.mark.parametrize(
    "value", [object(), float("nan"), "\x00", "\ud800", {1, 2}, "x" * 1_100_000]
)
def test_run__result_that_cannot_be_stored_fails_the_operation(value: Any) -> None:
    _report, operation = attempt(lambda operation: value)
    assert (operation.status, (operation.error or {})["code"]) == (Status.FAILED, "invalid-result")


def test_run__retries_within_the_budget(settings: Settings) -> None:
    options: dict[str, Any] = {
        "max_retries": 1,
        "autoretry_for": (OSError,),
        "default_retry_delay": 0,
    }
    report, operation = attempt(raising(OSError("gone")), **options)
    assert (report.ending, operation.status) == (Ending.AGAIN, Status.PENDING)
    assert (operation.retries, operation.published_at) == (1, None)
    kind = Kind(name=echo.name, function=raising(OSError("gone")), **options)
    report = runner.run(operation.pk, kind, worker="w2", inline=True)
    assert report.ending is Ending.FAILED
    outcomes = OperationAttempt.objects.order_by("number").values_list("outcome", flat=True)
    assert list(outcomes) == ["retry", "failed"]


def test_run__job_asks_for_a_retry_later() -> None:
    def job(operation: Job) -> None:
        operation.retry(after=60)

    report, operation = attempt(job, max_retries=1)
    assert (report.ending, operation.status) == (Ending.AGAIN, Status.PENDING)
    assert (operation.available_at - operation.updated_at).total_seconds() > 59
    assert runner.run(operation.pk, echo.kind, worker="w2").ending is Ending.NOT_MINE


@pytest.mark.parametrize(
    ("error", "status", "progress"),
    [
        (None, Status.SUCCEEDED, 100),
        (OperationFailed("no more pages"), Status.FAILED, 70),
        (OperationCanceled(), Status.CANCELED, 70),
    ],
)
def test_run__stores_the_last_progress(
    error: BaseException | None, status: Status, progress: int
) -> None:
    """The job ends before the next beat."""

    def job(operation: Job) -> None:
        operation.progress(1, 10, "page 1 of 10")
        claim = operation._claim
        claim._beat_at += 60
        operation.progress(7, 10, "page 7 of 10")
        if isinstance(error, OperationCanceled):
            services.cancel(Operation.objects.get(pk=operation.id))
            claim.interruption = OperationCanceled
        if error is not None:
            raise error

    _, operation = attempt(job)
    assert (operation.status, operation.progress) == (status, progress)
    assert operation.message == "page 7 of 10"


class WithoutText:
    def __str__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize("succeeds", [True, False])
def test_run__message_that_cannot_become_a_text(succeeds: bool) -> None:
    def job(operation: Job) -> None:
        operation._claim.progress = (10, WithoutText(), 0, None)  # type: ignore[assignment]
        if not succeeds:
            raise OperationFailed("no more pages")

    _, operation = attempt(job)
    assert operation.status == (Status.SUCCEEDED if succeeds else Status.FAILED)
    assert operation.message == ""


def test_run__canceled_while_running() -> None:
    def job(operation: Job) -> None:
        services.cancel(Operation.objects.get(pk=operation.id))
        operation.progress(1, 2)

    report, operation = attempt(job)
    assert (report.ending, operation.status) == (Ending.CANCELED, Status.CANCELED)


def test_run__retry_is_refused_while_canceling() -> None:
    def job(operation: Job) -> None:
        services.cancel(Operation.objects.get(pk=operation.id))
        operation.retry(after=0)

    report, operation = attempt(job, max_retries=1)
    assert (report.ending, operation.status) == (Ending.CANCELED, Status.CANCELED)


@pytest.mark.parametrize("succeeds", [True, False])
def test_run__zombie_writes_nothing(succeeds: bool) -> None:
    def job(operation: Job) -> None:
        Operation.objects.update(attempt=2)
        if not succeeds:
            raise ZeroDivisionError

    report, operation = attempt(job)
    assert (report.ending, operation.status) == (Ending.NOT_MINE, Status.RUNNING)
    assert not OperationResult.objects.exists()
    assert not OperationAttempt.objects.exists()


def test_run__zombie_is_interrupted_at_its_next_call() -> None:
    def job(operation: Job) -> None:
        Operation.objects.update(attempt=2)
        operation.check_canceled()

    assert attempt(job)[0].ending is Ending.NOT_MINE


def test_run__on_finish_is_rolled_back_with_a_failure() -> None:
    def job(operation: Job) -> None:
        operation.on_finish(lambda: Operation.objects.update(message="written"))

    def broken(operation: Job) -> None:
        operation.on_finish(lambda: Operation.objects.update(message="written"))
        operation.on_finish(lambda: 1 // 0)

    assert attempt(job)[1].message == "written"
    Operation.objects.all().delete()
    _report, operation = attempt(broken)
    assert (operation.status, operation.message) == (Status.FAILED, "")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "sent",
    [signals.operation_submitted, signals.operation_started, signals.operation_finished],
    ids=["submitted", "started", "finished"],
)
@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
def test_signal__whose_receiver_fails_changes_nothing(
    sent: Signal, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """Django's `send_robust` catches no error that is no Exception."""

    def receive(**_arguments: object) -> None:
        raise error

    sent.connect(receive)
    try:
        report, operation = attempt(lambda operation: None)
    finally:
        sent.disconnect(receive)
    assert (report.ending, operation.status) == (Ending.SUCCEEDED, Status.SUCCEEDED)
    assert error.__name__ in caplog.text


@pytest.mark.django_db(transaction=True)
def test_run__sends_signals() -> None:
    received: list[Any] = []

    def started(operation: Operation, **_: Any) -> None:
        received.append("started")

    def finished(status: Status, **_: Any) -> None:
        received.append(status)

    signals.operation_started.connect(started)
    signals.operation_finished.connect(finished)
    try:
        attempt(lambda operation: None)
    finally:
        signals.operation_started.disconnect(started)
        signals.operation_finished.disconnect(finished)
    assert received == ["started", Status.SUCCEEDED]


JOBS: dict[str, Callable[[Job], Any]] = {
    "succeeded": lambda operation: 7,
    "failed": raising(ZeroDivisionError()),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", JOBS)
def test_run__lost_answer_to_commit_makes_no_second_outcome(
    name: str, one_statement: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = [OperationalError("the answer was lost")]
    exit_atomic = transaction.Atomic.__exit__

    def lose_answer(self: Any, kind: Any, value: Any, trace: Any) -> None:
        exit_atomic(self, kind, value, trace)
        if errors and sys._getframe(1).f_code.co_name == "commit":
            raise errors.pop()

    operation = services.submit(echo)
    monkeypatch.setattr(transaction.Atomic, "__exit__", lose_answer)
    report = runner.run(
        operation.pk, Kind(name=echo.name, function=JOBS[name]), worker="w1", inline=True
    )
    monkeypatch.undo()
    operation.refresh_from_db()
    assert (report.ending.value, operation.status) == (name, name)
    assert OperationResult.objects.count() == (name == "succeeded")
    # A success that takes one statement has no transaction of ours.
    assert not errors or (one_statement and name == "succeeded")


@pytest.mark.django_db(transaction=True)
def test_run__database_that_stays_away_raises_database_away(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.ASYNC_REPLY = {"LEASE": 0.1}

    def refuse(*_: Any, **__: Any) -> bool:
        raise OperationalError("away")

    operation = services.submit(echo)
    monkeypatch.setattr(lifecycle, "succeed", refuse)
    monkeypatch.setattr(lifecycle, "fail", refuse)
    with pytest.raises(DatabaseAway):
        runner.run(operation.pk, echo.kind, worker="w1", inline=True)
    connections[alias()].close()
    operation.refresh_from_db()
    assert operation.status == Status.RUNNING


def interrupted(interruption: type[JobInterrupted]) -> Callable[[Job], Any]:
    """A job that is interrupted by `interruption` at its next call."""

    def job(operation: Job) -> None:
        operation._claim.interruption = interruption
        operation.check_canceled()

    return job


def test_run__release_by_a_stopping_worker_costs_no_budget() -> None:
    report, operation = attempt(interrupted(WorkerStopping), max_retries=1)
    assert (report.ending, operation.status) == (Ending.AGAIN, Status.PENDING)
    assert (operation.retries, operation.losses, operation.published_at) == (0, 0, None)
    assert OperationAttempt.objects.get().outcome == "released"


def test_run__release_while_canceling_cancels() -> None:
    def job(operation: Job) -> None:
        services.cancel(Operation.objects.get(pk=operation.id))
        interrupted(WorkerStopping)(operation)

    report, operation = attempt(job)
    assert (report.ending, operation.status) == (Ending.CANCELED, Status.CANCELED)


def test_run__past_its_time_limit_has_timed_out() -> None:
    report, operation = attempt(interrupted(TimeLimitExceeded))
    assert (report.ending, (operation.error or {})["code"]) == (Ending.FAILED, "timed-out")
    assert OperationAttempt.objects.get().outcome == "timed out"


@pytest.mark.parametrize("error", [OperationCanceled(), ClaimLost(), WorkerStopping()])
def test_run__job_that_raises_an_interruption_itself_has_failed(error: JobInterrupted) -> None:
    report, operation = attempt(raising(error))
    assert (report.ending, operation.status) == (Ending.FAILED, Status.FAILED)
