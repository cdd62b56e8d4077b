"""Errors of the database in an attempt, and values of a job that no database can store."""

import itertools
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any
from uuid import UUID

import pytest
from django.core.files.storage import FileSystemStorage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import InterfaceError, OperationalError, connection
from django.db.models.fields.files import FieldFile
from django.utils import timezone
from django.utils.translation import gettext_lazy
from pytest_django import Settings
from rest_framework.exceptions import APIException, NotFound, Throttled

from async_reply import lifecycle, services
from async_reply.attempts import failures, outages, rescue, runner
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.attempts.reports import Ending, Report
from async_reply.exceptions import DatabaseAway, OperationFailed, RetryLater
from async_reply.files import inputs
from async_reply.models import Operation, OperationAttempt, OperationFile, OperationResult
from async_reply.status import Status
from async_reply.tasks import operation_task
from async_reply.testing import run_operations
from tests.project.tasks import echo

pytestmark = pytest.mark.usefixtures("one_statement")


@operation_task(name="tests.runner_faults.count")
def count(operation: Job, *, by: int) -> int:
    return by


FAULTS = [OperationalError("server closed the connection"), InterfaceError("connection is closed")]


def attempt(function: Callable[[Job], Any], **options: Any) -> tuple[Report, Any]:
    operation = services.submit(echo)
    kind = Kind(name=echo.name, function=function, **options)
    report = runner.run(operation.pk, kind, worker="w1", inline=True)
    operation.refresh_from_db()
    return report, operation


def raising(error: BaseException) -> Callable[[Job], Any]:
    def job(operation: Job) -> None:
        raise error

    return job


class FailingCommit:
    """The connection's COMMIT, with an error before it or after it."""

    def __init__(self, errors: list[Exception], *, is_committed: bool) -> None:
        self.errors = errors
        self.is_committed = is_committed
        self.commit = connection.commit

    def __call__(self) -> None:
        if not self.errors:
            return self.commit()
        if self.is_committed:
            self.commit()
        else:
            connection.connection.rollback()
        raise self.errors.pop()


def again(operation: Job) -> None:
    operation.retry(after=0)


JOBS: dict[Status, Callable[[Job], Any]] = {
    Status.SUCCEEDED: lambda operation: 7,
    Status.FAILED: raising(ZeroDivisionError()),
    Status.PENDING: again,
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("fault", FAULTS, ids=repr)
@pytest.mark.parametrize("times", [1, 10**9], ids=["once", "for good"])
def test_run__error_while_the_input_is_read_does_not_fail_the_job(
    times: int, fault: Exception, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setattr(outages, "PAUSE_SECONDS", 0)
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "LEASE": 0.2}
    read, tries = inputs.opened, itertools.count(1)

    def opened(operation: Operation) -> Any:
        if next(tries) <= times:
            raise fault
        return read(operation)

    monkeypatch.setattr(inputs, "opened", opened)
    operation = services.submit(count, input={"by": 2})
    expected = nullcontext() if times == 1 else pytest.raises(DatabaseAway)
    with expected:
        runner.run(operation.pk, count.kind, worker="w1", inline=True)
    operation.refresh_from_db()
    assert operation.status == (Status.SUCCEEDED if times == 1 else Status.RUNNING)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("fault", FAULTS, ids=repr)
@pytest.mark.parametrize("times", [1, 10**9], ids=["once", "for good"])
def test_run__job_cannot_catch_an_error_while_its_input_is_read(
    times: int, fault: Exception, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """A job that catches `Exception` would otherwise go on without its input."""
    monkeypatch.setattr(outages, "PAUSE_SECONDS", 0)
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "LEASE": 0.2}
    read, tries = inputs.opened, itertools.count(1)

    def opened(operation: Operation) -> Any:
        if next(tries) <= times:
            raise fault
        return read(operation)

    def careless(operation: Job) -> Any:
        try:
            return operation.input
        except Exception:  # noqa: BLE001
            return "without input"

    monkeypatch.setattr(inputs, "opened", opened)
    operation = services.submit(echo, input={"a": 1})
    with nullcontext() if times == 1 else pytest.raises(DatabaseAway):
        runner.run(operation.pk, Kind(name=echo.name, function=careless), worker="w", inline=True)
    operation.refresh_from_db()
    assert operation.status == (Status.SUCCEEDED if times == 1 else Status.RUNNING)
    if times == 1:
        assert operation.result.value == {"a": 1}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("fault", FAULTS, ids=repr)
@pytest.mark.parametrize("is_committed", [True, False], ids=["answer lost", "not committed"])
@pytest.mark.parametrize("status", JOBS)
def test_run__error_at_commit_stores_one_outcome(
    status: Status, is_committed: bool, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outages, "PAUSE_SECONDS", 0)
    operation = services.submit(echo)
    monkeypatch.setattr(connection, "commit", FailingCommit([fault], is_committed=is_committed))
    kind = Kind(name=echo.name, function=JOBS[status])
    report = runner.run(operation.pk, kind, worker="w1", inline=True)
    operation.refresh_from_db()
    assert (operation.status, operation.attempt) == (status, 1)
    assert OperationResult.objects.count() == (status == Status.SUCCEEDED)
    assert OperationAttempt.objects.count() == (status != Status.SUCCEEDED)
    if status != Status.PENDING:
        assert report.ending.value == status
    else:
        assert report.ending in {Ending.AGAIN, Ending.NOT_MINE}
        assert operation.retries == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("fault", FAULTS, ids=repr)
@pytest.mark.parametrize("is_committed", [True, False], ids=["answer lost", "not executed"])
def test_run__error_at_the_one_statement_stores_one_outcome(
    one_statement: bool, is_committed: bool, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not one_statement:
        pytest.skip("success takes a transaction: see the errors at commit")
    faults = [fault]

    def fail_once(execute: Any, sql: str, *args: Any) -> Any:
        fails = sql.startswith("WITH") and bool(faults)
        answer = execute(sql, *args) if is_committed or not fails else None
        if fails:
            raise faults.pop()
        return answer

    monkeypatch.setattr(outages, "PAUSE_SECONDS", 0)
    with connection.execute_wrapper(fail_once):
        report, operation = attempt(lambda operation: 7)
    assert (report.ending, operation.result.value, faults) == (Ending.SUCCEEDED, 7, [])
    assert (operation.status, operation.attempt) == (Status.SUCCEEDED, 1)


@pytest.mark.django_db(transaction=True)
def test_run__on_finish_happens_once_after_several_tries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def job(operation: Job) -> Any:
        operation.on_finish(lambda: services.submit(echo))
        return operation.file(b"1", name="x")

    monkeypatch.setattr(outages, "PAUSE_SECONDS", 0)
    operation = services.submit(echo)
    monkeypatch.setattr(connection, "commit", FailingCommit([*FAULTS], is_committed=False))
    runner.run(operation.pk, Kind(name=echo.name, function=job), worker="w1", inline=True)
    operation.refresh_from_db()
    assert (operation.status, operation.files.count()) == (Status.SUCCEEDED, 1)
    assert Operation.objects.count() == 2


@pytest.mark.skipif(connection.vendor != "postgresql", reason="ends a PostgreSQL backend")
@pytest.mark.django_db(transaction=True)
def test_run__finishes_after_its_backend_died() -> None:
    statements = ["SELECT pg_terminate_backend(pg_backend_pid())"]

    def job(operation: Job) -> int:
        def die_once() -> None:
            if statements:
                with connection.cursor() as cursor:
                    cursor.execute(statements.pop())

        operation.on_finish(die_once)
        return 7

    report, operation = attempt(job)
    assert (report.ending, operation.result.value, statements) == (Ending.SUCCEEDED, 7, [])


@pytest.mark.django_db(transaction=True)
def test_run__database_that_stays_away_fails_no_job(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    def refuse(*_: Any, **__: Any) -> bool:
        raise OperationalError("away")

    settings.ASYNC_REPLY = {"LEASE": 0.1}
    monkeypatch.setattr(outages, "PAUSE_SECONDS", 0)
    operation = services.submit(echo)
    with monkeypatch.context() as outage:
        for name in ("succeed", "beat", "fail"):
            outage.setattr(lifecycle, name, refuse)
        with pytest.raises(DatabaseAway, match=str(operation.pk)):
            runner.run(operation.pk, echo.kind, worker="w1", inline=True)
    assert rescue.rescue() == 1
    assert [report.ending for report in run_operations()] == [Ending.SUCCEEDED]


@pytest.mark.django_db(transaction=True)
def test_run__on_finish_that_always_fails_fails_the_job(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    def job(operation: Job) -> None:
        def finish() -> None:
            raise OperationalError("no such table")

        operation.on_finish(finish)

    settings.ASYNC_REPLY = {"LEASE": 0.1}
    monkeypatch.setattr(outages, "PAUSE_SECONDS", 0)
    report, operation = attempt(job)
    assert (report.ending, operation.status) == (Ending.FAILED, Status.FAILED)
    assert "no such table" in OperationAttempt.objects.get().traceback


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (OperationFailed(gettext_lazy("Not found.")), "Not found."),
        (OperationFailed("a\x00b"), r"a\x00b"),
        (OperationFailed("a\ud800b"), r"a\ud800b"),
        (OperationFailed("x" * 10_000), "x" * 4_000),
        (APIException(gettext_lazy("Not found.")), "Not found."),
    ],
    ids=["lazy", "nul", "surrogate", "long", "lazy of the framework"],
)
@pytest.mark.django_db
def test_run__any_text_of_a_failure_is_stored(error: Exception, detail: str) -> None:
    report, operation = attempt(raising(error))
    assert report.ending is Ending.FAILED
    assert (operation.error["detail"], operation.error["message"]) == (detail, detail)


@pytest.mark.parametrize(("error", "code"), [(NotFound(), "not_found"), (Throttled(), "throttled")])
@pytest.mark.django_db
def test_run__reserved_status_codes_become_409(error: APIException, code: str) -> None:
    operation = attempt(raising(error))[1]
    assert (operation.error["code"], operation.error["status"]) == (code, 409)


class WithoutText(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "error", [ValueError("\x00\ud800"), ValueError("x" * 200_000), WithoutText()]
)
@pytest.mark.django_db
def test_run__traceback_is_kept_for_the_operator(error: Exception) -> None:
    operation = attempt(raising(error))[1]
    assert (operation.status, operation.error["detail"]) == (Status.FAILED, failures.INTERNAL_ERROR)
    row = OperationAttempt.objects.get()
    assert row.exception.endswith(type(error).__name__)
    assert 0 < len(row.traceback) <= failures.MAX_TRACEBACK_CHARACTERS
    assert row.started_at is not None
    assert row.started_at == Operation.objects.get().started_at


class Hollow(OperationFailed):
    """Has none of its base's attributes, since it does not call `super().__init__()`."""

    def __init__(self) -> None:
        pass


class HollowRetry(RetryLater):
    def __init__(self) -> None:
        pass


class Typo(OperationFailed):
    def __init__(self) -> None:
        super().__init__("no stock")
        self.status_code = "four hundred"  # type: ignore[assignment]


class FailingMetaclass(type):
    def __instancecheck__(cls, instance: object) -> bool:
        raise ZeroDivisionError


class Uncheckable(Exception, metaclass=FailingMetaclass):
    pass


@pytest.mark.parametrize(
    ("error", "options"),
    [
        (Hollow(), {}),
        (HollowRetry(), {}),
        (Typo(), {}),
        (OperationFailed(WithoutText()), {}),
        (RetryLater("soon"), {}),  # type: ignore[arg-type]
        (RetryLater(float("nan")), {}),
        (RetryLater(1e12), {}),
        (KeyError(), {"autoretry_for": (Uncheckable,)}),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.django_db
def test_run__error_that_cannot_be_explained_fails_the_operation(
    error: BaseException, options: dict[str, Any]
) -> None:
    report, operation = attempt(raising(error), **options)
    assert (report.ending, report.error) == (Ending.FAILED, error)
    assert (operation.status, operation.attempt) == (Status.FAILED, 1)
    assert operation.error["code"] == "internal-error"
    assert OperationAttempt.objects.get().exception.endswith(type(error).__name__)


class FailedWith200(OperationFailed):
    def __init__(self) -> None:
        super().__init__("no stock")
        self.status_code = 200


@pytest.mark.django_db
def test_run__failure_has_no_status_code_of_a_success() -> None:
    assert attempt(raising(FailedWith200()))[1].error["status"] == 409


class WithoutCause(Exception):
    @property
    def __cause__(self) -> None:  # type: ignore[override]
        raise ZeroDivisionError


@pytest.mark.django_db
def test_record__error_that_cannot_be_formatted() -> None:
    operation = services.submit(echo)
    with pytest.raises(WithoutCause) as raised:
        raising(WithoutCause())(None)  # type: ignore[arg-type]
    failures.record(operation, raised.value, OperationAttempt.Outcome.FAILED)
    assert "raise error" in OperationAttempt.objects.get().traceback


@pytest.mark.parametrize("after", ["soon", 1e12, -1, float("inf")])
@pytest.mark.django_db
def test_run__impossible_delay_fails_the_job(after: Any) -> None:
    report, operation = attempt(lambda operation: operation.retry(after=after))
    assert (report.ending, operation.status) == (Ending.FAILED, Status.FAILED)
    assert isinstance(report.error, TypeError | ValueError)


@pytest.mark.django_db
def test_run__delay_may_be_a_timedelta() -> None:
    operation = attempt(lambda operation: operation.retry(after=timedelta(minutes=5)))[1]
    assert (operation.status, operation.retries) == (Status.PENDING, 1)
    assert timedelta(minutes=4) < operation.available_at - timezone.now() < timedelta(minutes=5)


@pytest.mark.django_db
def test_run__input_that_cannot_be_closed_does_not_undo_a_success(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = FileSystemStorage(location=tmp_path)
    monkeypatch.setattr(OperationFile._meta.get_field("file"), "storage", storage)
    closed: list[str] = []
    really_close = FieldFile.close

    def close(handle: FieldFile) -> None:
        really_close(handle)
        closed.append(str(handle.name))
        raise OSError("gone")

    uploads = {name: SimpleUploadedFile(name, b"x") for name in "ab"}
    operation = services.submit(echo, input=uploads)
    kind = Kind(name=echo.name, function=lambda operation: len(operation.input))
    with monkeypatch.context() as refusing:
        refusing.setattr(FieldFile, "close", close)
        report = runner.run(operation.pk, kind, worker="w1", inline=True)
    operation.refresh_from_db()
    assert (report.ending, operation.result.value, len(closed)) == (Ending.SUCCEEDED, 2, 2)
    assert [record.levelname for record in caplog.records if "not closed" in record.message] == [
        "WARNING"
    ] * 2


@pytest.mark.django_db
def test_run__result_that_is_too_large_names_the_remedy(settings: Settings) -> None:
    settings.ASYNC_REPLY = {"MAX_RESULT": 10}
    operation = attempt(lambda operation: "x" * 11)[1]
    assert operation.error["code"] == "invalid-result"
    assert "operation.file" in operation.error["detail"]


def refusing_storage(operation: Job) -> Any:
    """Store a file where a plain file takes the name of the storage's folder."""
    Path(OperationFile().file.storage.path("async_reply")).touch()
    return operation.file(b"1", name="x")


@pytest.mark.parametrize(
    ("options", "ending", "outcome"),
    [
        ({}, Ending.FAILED, "failed"),
        ({"autoretry_for": (OSError,), "default_retry_delay": 60}, Ending.AGAIN, "retry"),
    ],
)
@pytest.mark.django_db
def test_run__failing_storage_fails_the_job_or_is_retried(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    options: dict[str, Any],
    ending: Ending,
    outcome: str,
) -> None:
    storage = FileSystemStorage(location=tmp_path)
    monkeypatch.setattr(OperationFile._meta.get_field("file"), "storage", storage)
    report, operation = attempt(refusing_storage, max_retries=3, **options)
    assert report.ending is ending
    row = OperationAttempt.objects.get()
    assert row.outcome == outcome
    assert str(tmp_path) in row.traceback
    if ending is Ending.FAILED:
        assert operation.error["code"] == "storage-failed"
        assert operation.error["detail"] == failures.STORAGE_FAILED


class PoolTimeout(Exception):
    """A timeout that a pool raises wherever the job is."""


class SlowStorage(FileSystemStorage):
    def save(self, *_: Any, **__: Any) -> str:
        raise PoolTimeout


@pytest.mark.django_db
def test_run__timeout_inside_a_storage_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OperationFile._meta.get_field("file"), "storage", SlowStorage())
    operation = attempt(lambda operation: operation.file(b"1", name="x"), timeouts=(PoolTimeout,))[
        1
    ]
    assert operation.error["code"] == "timed-out"
    assert OperationAttempt.objects.get().outcome == "timed out"


@pytest.mark.django_db
def test_run__retry_beyond_the_budget_fails() -> None:
    services.submit(echo)
    Operation.objects.update(max_retries=0)
    operation = Operation.objects.get()
    report = runner.run(
        operation.pk, Kind(name=echo.name, function=again), worker="w1", inline=True
    )
    operation.refresh_from_db()
    assert (report.ending, operation.status) == (Ending.FAILED, Status.FAILED)


@pytest.mark.django_db
def test_run__cancel_without_a_later_call_does_not_stop_the_job() -> None:
    def job(operation: Job) -> int:
        services.cancel(Operation.objects.get())
        return 7

    report, operation = attempt(job)
    assert (report.ending, operation.status) == (Ending.SUCCEEDED, Status.SUCCEEDED)


@pytest.mark.django_db
def test_run__operation_that_does_not_exist() -> None:
    operation = Operation()
    report = runner.run(operation.pk, echo.kind, worker="w1", inline=True)
    assert report == Report(Ending.NOT_MINE)


@pytest.mark.django_db
def test_run__waits_for_nothing_inside_a_transaction_of_the_caller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any, **__: Any) -> bool:
        raise OperationalError("locked")

    monkeypatch.setattr(lifecycle, "succeed", refuse)
    report, operation = attempt(lambda operation: 7)
    assert (report.ending, operation.status) == (Ending.FAILED, Status.FAILED)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_run__claim_waits_for_a_database_that_is_away(
    fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim_unread, faults = lifecycle.claim_unread, [fault, fault]

    def fail_twice(pk: UUID, **options: Any) -> Operation | None:
        if faults:
            raise faults.pop()
        return claim_unread(pk, **options)

    monkeypatch.setattr(outages, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(lifecycle, "claim_unread", fail_twice)
    report, operation = attempt(lambda operation: 7)
    assert (report.ending, operation.attempt, faults) == (Ending.SUCCEEDED, 1, [])


@pytest.mark.django_db(transaction=True)
def test_run__claim_that_always_fails_leaves_the_operation_pending(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    def refuse(pk: UUID, **_: Any) -> None:
        raise OperationalError("away")

    settings.ASYNC_REPLY = {"LEASE": 0.1}
    monkeypatch.setattr(outages, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(lifecycle, "claim_unread", refuse)
    operation = services.submit(echo)
    with pytest.raises(OperationalError, match="away"):
        runner.run(operation.pk, echo.kind, worker="w1")
    operation.refresh_from_db()
    assert (operation.status, operation.attempt) == (Status.PENDING, 0)


@pytest.mark.django_db(transaction=True)
def test_run__tries_again_after_a_try_that_hung_for_a_lease(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """The database hung and came back. The job's result is stored."""
    monkeypatch.setattr(outages, "PAUSE_SECONDS", 0)
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "LEASE": 0.1}
    succeed, hangs = lifecycle.succeed, iter([True, False])

    def hang(operation: Operation, **options: Any) -> bool:
        if next(hangs):
            Event().wait(0.2)
            raise FAULTS[0]
        return succeed(operation, **options)

    monkeypatch.setattr(lifecycle, "succeed", hang)
    report, operation = attempt(JOBS[Status.SUCCEEDED])
    assert (report.ending, operation.status) == (Ending.SUCCEEDED, Status.SUCCEEDED)
