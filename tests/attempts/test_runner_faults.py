"""What a database does to an attempt, and what a job may say that no database takes."""

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
from async_reply.attempts import failures, heartbeats, rescue, runner
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.attempts.runner import Ending, Report
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


class Commits:
    """The connection's COMMIT, with an error before or after it has taken place."""

    def __init__(self, errors: list[Exception], *, done: bool) -> None:
        self.errors = errors
        self.done = done
        self.commit = connection.commit

    def __call__(self) -> None:
        if not self.errors:
            return self.commit()
        if self.done:
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
def test_run__error_while_the_input_is_read_is_not_the_jobs(
    times: int, fault: Exception, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setattr(heartbeats, "TICK_AFTER_ERROR", 0)
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
def test_run__error_while_a_job_reads_its_input_is_not_swallowed(
    times: int, fault: Exception, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """A job that catches all exceptions would go on without its input."""
    monkeypatch.setattr(heartbeats, "TICK_AFTER_ERROR", 0)
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
@pytest.mark.parametrize("done", [True, False], ids=["answer lost", "not committed"])
@pytest.mark.parametrize("status", JOBS)
def test_run__error_at_commit_ends_once(
    status: Status, done: bool, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeats, "TICK_AFTER_ERROR", 0)
    operation = services.submit(echo)
    monkeypatch.setattr(connection, "commit", Commits([fault], done=done))
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
@pytest.mark.parametrize("done", [True, False], ids=["answer lost", "not executed"])
def test_run__error_at_the_one_statement_ends_once(
    one_statement: bool, done: bool, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not one_statement:
        pytest.skip("success takes a transaction: see the errors at commit")
    faults = [fault]

    def fail_once(execute: Any, sql: str, *args: Any) -> Any:
        finishing = sql.startswith("WITH") and bool(faults)
        answer = execute(sql, *args) if done or not finishing else None
        if finishing:
            raise faults.pop()
        return answer

    monkeypatch.setattr(heartbeats, "TICK_AFTER_ERROR", 0)
    with connection.execute_wrapper(fail_once):
        report, operation = attempt(lambda operation: 7)
    assert (report.ending, operation.result.value, faults) == (Ending.SUCCEEDED, 7, [])
    assert (operation.status, operation.attempt) == (Status.SUCCEEDED, 1)


@pytest.mark.django_db(transaction=True)
def test_run__on_finish_happens_once_however_often_it_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def job(operation: Job) -> Any:
        operation.on_finish(lambda: services.submit(echo))
        return operation.file(b"1", name="x")

    monkeypatch.setattr(heartbeats, "TICK_AFTER_ERROR", 0)
    operation = services.submit(echo)
    monkeypatch.setattr(connection, "commit", Commits([*FAULTS], done=False))
    runner.run(operation.pk, Kind(name=echo.name, function=job), worker="w1", inline=True)
    operation.refresh_from_db()
    assert (operation.status, operation.files.count()) == (Status.SUCCEEDED, 1)
    assert Operation.objects.count() == 2


@pytest.mark.skipif(connection.vendor != "postgresql", reason="ends a PostgreSQL backend")
@pytest.mark.django_db(transaction=True)
def test_run__backend_that_dies_while_finishing() -> None:
    deaths = ["SELECT pg_terminate_backend(pg_backend_pid())"]

    def job(operation: Job) -> int:
        def die_once() -> None:
            if deaths:
                with connection.cursor() as cursor:
                    cursor.execute(deaths.pop())

        operation.on_finish(die_once)
        return 7

    report, operation = attempt(job)
    assert (report.ending, operation.result.value, deaths) == (Ending.SUCCEEDED, 7, [])


@pytest.mark.django_db(transaction=True)
def test_run__database_that_stays_away_fails_no_job_that_was_done(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    def refuse(*_: Any, **__: Any) -> bool:
        raise OperationalError("away")

    settings.ASYNC_REPLY = {"LEASE": 0.1}
    monkeypatch.setattr(heartbeats, "TICK_AFTER_ERROR", 0)
    operation = services.submit(echo)
    with monkeypatch.context() as outage:
        for name in ("succeed", "beat", "fail"):
            outage.setattr(lifecycle, name, refuse)
        with pytest.raises(DatabaseAway, match=str(operation.pk)):
            runner.run(operation.pk, echo.kind, worker="w1", inline=True)
    assert rescue.rescue() == 1
    assert [report.ending for report in run_operations()] == [Ending.SUCCEEDED]


@pytest.mark.django_db(transaction=True)
def test_run__on_finish_that_never_works_fails_the_job(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    def job(operation: Job) -> None:
        def finish() -> None:
            raise OperationalError("no such table")

        operation.on_finish(finish)

    settings.ASYNC_REPLY = {"LEASE": 0.1}
    monkeypatch.setattr(heartbeats, "TICK_AFTER_ERROR", 0)
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
def test_run__whatever_text_a_job_chose_is_stored(error: Exception, detail: str) -> None:
    report, operation = attempt(raising(error))
    assert report.ending is Ending.FAILED
    assert (operation.error["detail"], operation.error["message"]) == (detail, detail)


@pytest.mark.parametrize(("error", "code"), [(NotFound(), "not_found"), (Throttled(), "throttled")])
@pytest.mark.django_db
def test_run__statuses_that_mean_something_else_become_409(error: APIException, code: str) -> None:
    operation = attempt(raising(error))[1]
    assert (operation.error["code"], operation.error["status"]) == (code, 409)


class Nameless(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("error", [ValueError("\x00\ud800"), ValueError("x" * 200_000), Nameless()])
@pytest.mark.django_db
def test_run__traceback_is_kept_for_the_operator(error: Exception) -> None:
    operation = attempt(raising(error))[1]
    assert (operation.status, operation.error["detail"]) == (Status.FAILED, failures.GENERIC)
    kept = OperationAttempt.objects.get()
    assert kept.exception.endswith(type(error).__name__)
    assert 0 < len(kept.traceback) <= failures.LONGEST_TRACEBACK
    assert kept.started_at is not None
    assert kept.started_at == Operation.objects.get().started_at


class Hollow(OperationFailed):
    """Without super().__init__() it has none of what the base promises."""

    def __init__(self) -> None:
        pass


class HollowRetry(RetryLater):
    def __init__(self) -> None:
        pass


class Typo(OperationFailed):
    def __init__(self) -> None:
        super().__init__("no stock")
        self.status_code = "four hundred"  # type: ignore[assignment]


class Moody(type):
    def __instancecheck__(cls, instance: object) -> bool:
        raise ZeroDivisionError


class Mood(Exception, metaclass=Moody):
    pass


@pytest.mark.parametrize(
    ("error", "options"),
    [
        (Hollow(), {}),
        (HollowRetry(), {}),
        (Typo(), {}),
        (OperationFailed(Nameless()), {}),
        (RetryLater("soon"), {}),  # type: ignore[arg-type]
        (RetryLater(float("nan")), {}),
        (RetryLater(1e12), {}),
        (KeyError(), {"autoretry_for": (Mood,)}),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.django_db
def test_run__error_that_cannot_be_looked_at_fails_the_operation_all_the_same(
    error: BaseException, options: dict[str, Any]
) -> None:
    report, operation = attempt(raising(error), **options)
    assert (report.ending, report.error) == (Ending.FAILED, error)
    assert (operation.status, operation.attempt) == (Status.FAILED, 1)
    assert operation.error["code"] == "internal-error"
    assert OperationAttempt.objects.get().exception.endswith(type(error).__name__)


class Fine(OperationFailed):
    def __init__(self) -> None:
        super().__init__("no stock")
        self.status_code = 200


@pytest.mark.django_db
def test_run__failure_never_looks_like_a_success() -> None:
    assert attempt(raising(Fine()))[1].error["status"] == 409


class Rootless(Exception):
    @property
    def __cause__(self) -> None:  # type: ignore[override]
        raise ZeroDivisionError


@pytest.mark.django_db
def test_record__error_that_cannot_be_formatted() -> None:
    operation = services.submit(echo)
    with pytest.raises(Rootless) as raised:
        raising(Rootless())(None)  # type: ignore[arg-type]
    failures.record(operation, failures.explain(echo.kind, raised.value))
    assert "raise error" in OperationAttempt.objects.get().traceback


@pytest.mark.parametrize("after", ["soon", 1e12, -1, float("inf")])
@pytest.mark.django_db
def test_run__delay_that_is_none_is_the_jobs_own_error(after: Any) -> None:
    report, operation = attempt(lambda operation: operation.retry(after=after))
    assert (report.ending, operation.status) == (Ending.FAILED, Status.FAILED)
    assert isinstance(report.error, TypeError | ValueError)


@pytest.mark.django_db
def test_run__delay_may_be_a_timedelta() -> None:
    operation = attempt(lambda operation: operation.retry(after=timedelta(minutes=5)))[1]
    assert (operation.status, operation.retries) == (Status.PENDING, 1)
    assert timedelta(minutes=4) < operation.available_at - timezone.now() < timedelta(minutes=5)


@pytest.mark.django_db
def test_run__input_that_cannot_be_closed_takes_no_success_back(
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
def test_run__too_large_a_result_names_the_remedy(settings: Settings) -> None:
    settings.ASYNC_REPLY = {"MAX_RESULT": 10}
    operation = attempt(lambda operation: "x" * 11)[1]
    assert operation.error["code"] == "invalid-result"
    assert "operation.file" in operation.error["detail"]


def refusing_storage(operation: Job) -> Any:
    """A folder of the name that the storage wants for its own."""
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
def test_run__failing_storage_is_told_and_can_be_retried(
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
    kept = OperationAttempt.objects.get()
    assert kept.outcome == outcome
    assert str(tmp_path) in kept.traceback
    if ending is Ending.FAILED:
        assert operation.error["code"] == "storage-failed"
        assert operation.error["detail"] == failures.STORAGE


class Late(Exception):
    """As a pool raises it where the job just is."""


class SlowStorage(FileSystemStorage):
    def save(self, *_: Any, **__: Any) -> str:
        raise Late


@pytest.mark.django_db
def test_run__timeout_while_storing_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OperationFile._meta.get_field("file"), "storage", SlowStorage())
    operation = attempt(lambda operation: operation.file(b"1", name="x"), timeouts=(Late,))[1]
    assert operation.error["code"] == "timed-out"
    assert OperationAttempt.objects.get().outcome == "timed out"


@pytest.mark.django_db
def test_run__budget_of_retries_that_is_spent_fails() -> None:
    services.submit(echo)
    Operation.objects.update(max_retries=0)
    operation = Operation.objects.get()
    report = runner.run(
        operation.pk, Kind(name=echo.name, function=again), worker="w1", inline=True
    )
    operation.refresh_from_db()
    assert (report.ending, operation.status) == (Ending.FAILED, Status.FAILED)


@pytest.mark.django_db
def test_run__canceled_at_the_last_moment_is_done_all_the_same() -> None:
    def job(operation: Job) -> int:
        services.cancel(Operation.objects.get())
        return 7

    report, operation = attempt(job)
    assert (report.ending, operation.status) == (Ending.SUCCEEDED, Status.SUCCEEDED)


@pytest.mark.django_db
def test_run__of_no_operation() -> None:
    operation = Operation()
    report = runner.run(operation.pk, echo.kind, worker="w1", inline=True)
    assert report == Report(Ending.NOT_MINE)


@pytest.mark.django_db
def test_run__error_inside_a_transaction_of_the_caller_is_not_waited_for(
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
    claim, faults = lifecycle.claim_unread, [fault, fault]

    def fail_twice(pk: UUID, **options: Any) -> Operation | None:
        if faults:
            raise faults.pop()
        return claim(pk, **options)

    monkeypatch.setattr(heartbeats, "TICK_AFTER_ERROR", 0)
    monkeypatch.setattr(lifecycle, "claim_unread", fail_twice)
    report, operation = attempt(lambda operation: 7)
    assert (report.ending, operation.attempt, faults) == (Ending.SUCCEEDED, 1, [])


@pytest.mark.django_db(transaction=True)
def test_run__claim_that_never_comes_leaves_the_operation_pending(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    def refuse(pk: UUID, **_: Any) -> None:
        raise OperationalError("away")

    settings.ASYNC_REPLY = {"LEASE": 0.1}
    monkeypatch.setattr(heartbeats, "TICK_AFTER_ERROR", 0)
    monkeypatch.setattr(lifecycle, "claim_unread", refuse)
    operation = services.submit(echo)
    with pytest.raises(OperationalError, match="away"):
        runner.run(operation.pk, echo.kind, worker="w1")
    operation.refresh_from_db()
    assert (operation.status, operation.attempt) == (Status.PENDING, 0)


@pytest.mark.django_db(transaction=True)
def test_run__try_that_hangs_for_a_lease_is_not_the_last(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """The database hung and came back: what the job did is stored, and it is not blamed."""
    monkeypatch.setattr(heartbeats, "TICK_AFTER_ERROR", 0)
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
