"""Functions of on_failure and on_cancel run in the transaction that stores the outcome."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError, OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient

from async_reply import lifecycle, services
from async_reply.attempts import compensation, outages, rescue
from async_reply.attempts.jobs import Job
from async_reply.database import errors
from async_reply.exceptions import DatabaseAway, OperationFailed
from async_reply.models import Operation, OperationAttempt
from async_reply.services import owners
from async_reply.status import Status
from async_reply.tasks import operation_task
from async_reply.testing import cancel_at, lose_at, run_operations, time_out_at
from tests.attempts.lost import lose
from tests.attempts.test_runner_faults import FAULTS, FailingCommit
from tests.project.tasks import echo

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("one_statement")]


def _past() -> datetime:
    """A second ago. For a clock of milliseconds, this process's time is not past yet."""
    return timezone.now() - timedelta(seconds=1)


def note(text: str) -> None:
    """Write a row: an operation in the far future."""
    far = timezone.now() + timedelta(days=300)
    services.submit(echo, input={"text": text}, available_at=far)


def notes() -> list[str]:
    return [row.input["text"] for row in Operation.objects.filter(kind=echo.name).order_by("pk")]


#: What the functions of the kind do besides writing a note.
extras: list[Callable[[Operation], Any]] = []


def note_failure(operation: Operation) -> None:
    note(f"kind {operation.status} {operation.input['way']}")
    for extra in extras:
        extra(operation)


@pytest.fixture(autouse=True)
def _no_extras() -> Iterator[None]:
    yield
    extras.clear()


@operation_task(
    name="tests.compensated",
    max_retries=2,
    default_retry_delay=0,
    max_losses=1,
    on_failure=note_failure,
    on_cancel=note_failure,
)
def compensated(operation: Job, *, way: str) -> None:
    operation.on_finish(lambda: note("job succeeded"))
    operation.on_failure(lambda: note("job failed"))
    operation.on_failure(lambda: note(f"attempt {operation.attempt}"))
    operation.on_cancel(lambda: note("job canceled"))
    operation.progress(1)
    if way == "fail":
        raise OperationFailed("No.")
    if way == "retry":
        operation.retry()
    if way == "finish":
        operation.on_finish(lambda: 1 // 0)


@operation_task(name="tests.uncompensated", max_losses=0)
def uncompensated(operation: Job, *, way: str) -> None:
    raise OperationFailed("No.")


def submit(way: str = "fail", task: Any = compensated, **options: Any) -> Operation:
    return services.submit(task, input={"way": way}, **options)


def status(operation: Operation) -> str:
    operation.refresh_from_db()
    return str(operation.status)


def test_success__calls_neither() -> None:
    operation = submit("succeed")
    run_operations()
    assert (status(operation), notes()) == ("succeeded", ["job succeeded"])


def test_failure__calls_the_jobs_functions_and_then_the_kinds() -> None:
    operation = submit()
    run_operations()
    assert (status(operation), notes()) == (
        "failed",
        ["job failed", "attempt 1", "kind failed fail"],
    )


def test_failure__of_on_finish_is_one() -> None:
    operation = submit("finish")
    run_operations()
    assert (status(operation), notes()) == (
        "failed",
        ["job failed", "attempt 1", "kind failed finish"],
    )


def test_failure__after_retries_is_compensated_once_by_the_last_attempt() -> None:
    operation = submit("retry")
    reports = run_operations()
    assert (len(reports), status(operation)) == (3, "failed")
    assert notes() == ["job failed", "attempt 3", "kind failed retry"]


def test_failure__by_the_time_limit() -> None:
    operation = submit()
    run_operations(interruption=time_out_at(1))
    assert (status(operation), notes()[-1]) == ("failed", "kind failed fail")


def test_loss__with_losses_left_calls_nothing() -> None:
    operation = submit("succeed")
    run_operations(interruption=lose_at(1))
    Operation.objects.filter(pk=operation.pk).update(
        lease_expires_at=timezone.now() - timedelta(seconds=1)
    )
    assert (rescue.rescue(), status(operation), notes()) == (1, "pending", [])


@pytest.mark.parametrize("timed_out", [False, True])
def test_loss__for_good_calls_the_kinds_function(timed_out: bool) -> None:
    operation = submit()
    assert lifecycle.claim(operation, worker="w1")
    Operation.objects.filter(pk=operation.pk).update(max_losses=0)
    assert rescue.from_dead_process(operation.pk, worker="w1", timed_out=timed_out)
    assert (status(operation), notes()) == ("failed", ["kind failed fail"])
    assert not rescue.from_dead_process(operation.pk, worker="w1", timed_out=timed_out)
    assert len(notes()) == 1


def test_cancel__while_pending_calls_the_kinds_function() -> None:
    operation = submit()
    assert services.cancel(operation) == Status.CANCELED
    assert (status(operation), notes()) == ("canceled", ["kind canceled fail"])
    services.cancel(operation)
    assert len(notes()) == 1


def test_cancel__between_attempts_calls_the_kinds_function() -> None:
    operation = submit("retry")
    Operation.objects.filter(pk=operation.pk).update(max_retries=9)
    compensated.perform(operation.pk, worker="w1", inline=True)
    services.cancel(Operation.objects.get(pk=operation.pk))
    assert (status(operation), notes()) == ("canceled", ["kind canceled retry"])


def test_cancel__by_a_client(api: APIClient, user: Any) -> None:
    operation = submit(owner=str(user.pk))
    assert api.post(f"/api/operations/{operation.pk}/cancel/").json()["status"] == "canceled"
    assert notes() == ["kind canceled fail"]


def test_cancel__for_a_deleted_owner() -> None:
    operation = submit(owner="7")
    owners.remove("7")
    assert (status(operation), notes()) == ("canceled", ["kind canceled fail"])


def test_cancel__of_a_running_job_calls_both() -> None:
    operation = submit("succeed")
    run_operations(interruption=cancel_at(1))
    assert (status(operation), notes()) == ("canceled", ["job canceled", "kind canceled succeed"])


def test_cancel__of_a_lost_attempt_calls_the_kinds_function() -> None:
    operation = submit()
    assert lifecycle.claim(operation, worker="w1")
    assert services.cancel(Operation.objects.get(pk=operation.pk)) == Status.CANCELING
    assert notes() == []
    Operation.objects.filter(pk=operation.pk).update(
        lease_expires_at=timezone.now() - timedelta(seconds=1)
    )
    assert (rescue.rescue(), status(operation)) == (1, "canceled")
    assert notes() == ["kind canceled fail"]


def test_cancel__that_came_too_late_calls_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row has changed between the look at it and the guarded UPDATE."""
    operation = submit("succeed")
    stale = Operation.objects.get(pk=operation.pk)
    assert lifecycle.claim(operation, worker="w1")
    assert services.cancel(stale) == Status.CANCELING
    assert notes() == []


def end_failed() -> Operation:
    operation = submit()
    run_operations()
    return operation


def end_canceled() -> Operation:
    operation = submit("succeed")
    run_operations(interruption=cancel_at(1))
    return operation


def end_lost() -> Operation:
    operation = submit()
    assert lifecycle.claim(operation, worker="w1")
    Operation.objects.filter(pk=operation.pk).update(max_losses=0)
    rescue.from_dead_process(operation.pk, worker="w1", timed_out=False)
    return operation


def cancel_pending() -> Operation:
    operation = submit()
    services.cancel(operation)
    return operation


def cancel_in_a_transaction() -> Operation:
    operation = submit()
    with transaction.atomic():
        services.cancel(operation)
    return operation


ENDS: dict[Callable[[], Operation], str] = {
    end_failed: "failed",
    end_canceled: "canceled",
    end_lost: "failed",
    cancel_pending: "canceled",
    cancel_in_a_transaction: "canceled",
}
ends = pytest.mark.parametrize("end", ENDS)


def divide(operation: Operation) -> None:
    raise ZeroDivisionError


def exit_(operation: Operation) -> None:
    raise SystemExit(3)


def cancel_task(operation: Operation) -> None:
    """As a coroutine does whose task was canceled. It is no Exception."""
    raise asyncio.CancelledError


def refer_to_nothing(operation: Operation) -> None:
    """PostgreSQL and SQLite look at foreign keys when the transaction commits."""
    OperationAttempt.objects.create(
        operation_id=uuid4(), number=1, started_at=timezone.now(), outcome="lost"
    )


@ends
@pytest.mark.parametrize("function", [divide, exit_, cancel_task, refer_to_nothing])
def test_function__that_raises_leaves_the_outcome_and_no_writes(
    end: Callable[[], Operation], function: Any, caplog: pytest.LogCaptureFixture
) -> None:
    if (end, function) == (cancel_in_a_transaction, refer_to_nothing):
        pytest.skip("the caller's own commit fails")
    extras.append(function)
    operation = end()
    assert (status(operation), notes()) == (ENDS[end], [])
    (record,) = [r for r in caplog.records if "ends without its on_failure" in r.getMessage()]
    assert (record.levelno, record.exc_info is not None) == (logging.ERROR, True)
    assert str(operation.pk) in record.getMessage()


@ends
def test_function__that_the_database_interrupts_is_called_again(
    end: Callable[[], Operation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its writes are there once. In a caller's transaction the caller gets the error."""
    faults = [OperationalError("deadlock")]
    monkeypatch.setattr(outages, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(errors, "is_temporary", lambda error: "deadlock" in str(error))

    def interrupt(operation: Operation) -> None:
        if faults:
            raise faults.pop()

    extras.append(interrupt)
    if end is cancel_in_a_transaction:
        with pytest.raises(OperationalError):
            end()
        assert (notes(), Operation.objects.exclude(status="pending").count()) == ([], 0)
    else:
        operation = end()
        assert (status(operation), faults) == (ENDS[end], [])
        assert [text for text in notes() if text.startswith("kind")] == [notes()[-1]]


@pytest.mark.parametrize("end", [end_lost, cancel_pending])
def test_function__that_the_database_always_interrupts_holds_up_no_rescue(
    end: Callable[[], Operation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "is_temporary", lambda error: "deadlock" in str(error))
    calls: list[int] = []

    def interrupt(operation: Operation) -> None:
        calls.append(1)
        raise OperationalError("deadlock")

    extras.append(interrupt)
    operation = end()
    assert (status(operation), notes(), len(calls)) == (ENDS[end], [], compensation.TRIES)


def test_failure__while_the_database_stays_away_is_left_to_the_rescue(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """The rescue calls the kind's function. An outcome without it would be final."""
    settings.ASYNC_REPLY = {"LEASE": 0.2}
    monkeypatch.setattr(outages, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(errors, "is_temporary", lambda error: "away" in str(error))

    def go_away(*_: Any, **__: Any) -> None:
        monkeypatch.setattr(lifecycle, "beat", go_away)
        raise OperationalError("away")

    extras.append(go_away)
    operation = submit()
    with pytest.raises(DatabaseAway):
        compensated.perform(operation.pk, worker="w1", inline=True)
    assert (status(operation), notes()) == ("running", [])


@pytest.mark.parametrize("is_committed", [True, False])
def test_failure__writes_once_after_several_commits(
    is_committed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outages, "PAUSE_SECONDS", 0)
    operation = submit()
    monkeypatch.setattr(
        connection, "commit", FailingCommit([*FAULTS[:1]], is_committed=is_committed)
    )
    compensated.perform(operation.pk, worker="w1", inline=True)
    assert (status(operation), notes()) == (
        "failed",
        ["job failed", "attempt 1", "kind failed fail"],
    )


def test_rescue__raises_what_is_no_error_of_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the loss would be stored without the functions that have not been called."""

    def refuse(*_: Any, **__: Any) -> None:
        raise DatabaseError("broken")

    monkeypatch.setattr(rescue, "_record", refuse)
    with pytest.raises(DatabaseError, match="broken"):
        end_lost()
    assert notes() == []


def test_rescue__of_an_unknown_kind_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delitem(compensation.known_kinds, compensated.name)
    operation = end_lost()
    assert (status(operation), notes()) == ("failed", [])
    assert f"Operation id={operation.pk} kind={compensated.name} ends without" in caplog.text


def verbs(action: Callable[[], object]) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        action()
    return [query["sql"].split()[0] for query in captured]


def test_kind_without_functions__pays_no_statement(one_statement: bool) -> None:
    failing, pending, lost = submit(task=uncompensated), submit(task=uncompensated), lose(echo)
    Operation.objects.filter(pk=lost.pk).update(max_losses=0)
    claim = ["UPDATE"] if one_statement else ["SELECT", "UPDATE"]
    locks = ["SELECT"] * connection.features.has_select_for_update_skip_locked
    assert verbs(lambda: uncompensated.perform(failing.pk, worker="w1", inline=True)) == [
        *claim,
        *("BEGIN", "UPDATE", "SELECT", "INSERT", "COMMIT"),
    ]
    assert verbs(lambda: lifecycle.cancel(pending)) == ["UPDATE"]
    assert verbs(lambda: services.cancel(submit(task=uncompensated)))[-2:] == ["UPDATE", "SELECT"]
    assert verbs(rescue.rescue) == [
        "SELECT",
        "BEGIN",
        *locks,
        *("UPDATE", "UPDATE", "INSERT", "COMMIT"),
    ]
