"""A database that is read-only for a while: everything that writes waits, and nobody is blamed.

Members: claiming, each way in which an attempt ends (the look at the row after a lost COMMIT as
well), heartbeats of the thread and of a job that beats for itself, the steps of maintenance, the
purge of one row among many, the take-back of a killed process, a callback of `on_finish`.
What answers clients is in tests/views/test_outages.py, the admin in tests/admin/test_actions.py.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import Error, InterfaceError, InternalError, OperationalError, transaction
from django.utils import timezone
from pytest_django import Settings

from async_reply import lifecycle, services
from async_reply.attempts import claims, heartbeats, rescue, results, runner
from async_reply.attempts.claims import Claim
from async_reply.attempts.heartbeats import Ticker
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.attempts.runner import Ending
from async_reply.exceptions import DatabaseAway, OperationCanceled
from async_reply.models import Operation, OperationAttempt, OperationResult
from async_reply.publishing import relay
from async_reply.services import retention
from async_reply.status import Status
from async_reply.worker import requests
from async_reply.worker.maintenance import Duty, Maintenance
from tests.failover import Failover, failover
from tests.project.tasks import echo

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("one_statement")]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "TICK_AFTER_ERROR", 0)


def run(function: Callable[[Job], Any], **options: Any) -> tuple[runner.Report, Any]:
    operation = services.submit(echo)
    Operation.objects.update(max_losses=0)
    kind = Kind(name=echo.name, function=function, **options)
    report = runner.run(operation.pk, kind, worker="w1", inline=True)
    operation.refresh_from_db()
    return report, operation


def with_file(operation: Job) -> Any:
    return operation.file(b"1", name="x")


def with_callback(operation: Job) -> Any:
    operation.on_finish(lambda: services.submit(echo))


def break_down(operation: Job) -> Any:
    raise ZeroDivisionError


def again(operation: Job) -> Any:
    operation.retry(after=0)


def cancel(operation: Job) -> Any:
    services.cancel(Operation.objects.get())
    raise OperationCanceled


ENDS: list[tuple[Callable[[Job], Any], Status]] = [
    (lambda operation: 7, Status.SUCCEEDED),
    (with_file, Status.SUCCEEDED),
    (with_callback, Status.SUCCEEDED),
    (break_down, Status.FAILED),
    (again, Status.PENDING),
    (cancel, Status.CANCELED),
]


@pytest.mark.parametrize(("job", "status"), ENDS)
def test_run__outcome_that_meets_a_failover_is_stored(
    job: Callable[[Job], Any], status: Status
) -> None:
    """Before: done jobs failed with internal-error, or were lost."""

    def run_into(operation: Job) -> Any:
        operation._claim.interruption = OperationCanceled if job is cancel else None
        try:
            return job(operation)
        finally:
            outage.begin()

    with failover(lasts=2, begin=False) as outage:
        operation = run(run_into)[1]
    assert outage.opened == 2
    assert (operation.status, operation.attempt, operation.losses) == (status, 1, 0)
    assert OperationResult.objects.count() == (status == Status.SUCCEEDED)
    if status == Status.FAILED:
        assert "ZeroDivisionError" in OperationAttempt.objects.get().exception


def test_run__claim_that_meets_a_failover() -> None:
    operation = services.submit(echo)
    with failover(lasts=2):
        report = runner.run(operation.pk, echo.kind, worker="w1", inline=True)
    assert (report.ending, Operation.objects.get().attempt) == (Ending.SUCCEEDED, 1)


#: What no other try within a lease mends: a failover that lasts, rights and tables that are gone.
LASTING = [InternalError, OperationalError, InterfaceError, Error]


@pytest.mark.parametrize("kind", LASTING)
@pytest.mark.parametrize("job", [job for job, status in ENDS if status == Status.SUCCEEDED])
def test_run__error_while_storing_is_never_the_jobs(
    kind: type[Error],
    job: Callable[[Job], Any],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Although everything else could be written meanwhile, the failure included."""

    def refuse(*_: Any, **__: Any) -> bool:
        raise kind("refused") from OSError()

    settings.ASYNC_REPLY = {"LEASE": 0.1}
    monkeypatch.setattr(lifecycle, "succeed", refuse)
    operation = services.submit(echo)
    with pytest.raises(DatabaseAway, match=str(operation.pk)):
        runner.run(operation.pk, Kind(name=echo.name, function=job), worker="w1", inline=True)
    assert Operation.objects.get(pk=operation.pk).status == Status.RUNNING
    assert not OperationAttempt.objects.exists()


def test_run__look_at_the_row_after_a_lost_answer_meets_a_failover(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    succeed, stored = lifecycle.succeed, results.stored
    errors = [OperationalError("the answer was lost")]
    looks = [OperationalError("away")]

    def lose_answer(*args: Any, **options: Any) -> bool:
        done = succeed(*args, **options)
        if errors:
            transaction.on_commit(lambda: (_ for _ in ()).throw(errors.pop()))
        return done

    def look(operation: Operation) -> bool:
        if looks:
            raise looks.pop()
        return stored(operation)

    monkeypatch.setattr(lifecycle, "succeed", lose_answer)
    monkeypatch.setattr(results, "stored", look)
    report, operation = run(with_file)
    assert (report.ending, operation.status) == (Ending.SUCCEEDED, Status.SUCCEEDED)
    assert (errors, looks) == ([], [])


@pytest.mark.parametrize("kind", [InternalError, OperationalError])
def test_run__callback_is_blamed_only_while_the_database_is_there(
    kind: type[Error], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails until the database is back, which is right after the last of the patient tries."""
    settings.ASYNC_REPLY = {"LEASE": 0.1}
    back: list[bool] = []
    beat = lifecycle.beat

    def beat_and_be_back(*args: Any, **options: Any) -> bool:
        held = beat(*args, **options)
        back.append(held)
        return held

    def job(operation: Job) -> int:
        def finish() -> None:
            if not back:
                raise kind("away")

        operation.on_finish(finish)
        monkeypatch.setattr(lifecycle, "beat", beat_and_be_back)
        return 7

    report, operation = run(job)
    assert (report.ending, operation.status) == (Ending.SUCCEEDED, Status.SUCCEEDED)


def held(outage: Failover | None = None) -> Claim:
    operation = services.submit(echo)
    assert lifecycle.claim(operation, worker="w1")
    return Claim(operation, inline=False)


def test_ticker__goes_on_after_a_failover(caplog: pytest.LogCaptureFixture) -> None:
    claim, ticker = held(), Ticker()
    ticker._claims.append(claim)
    with failover(lasts=1):
        claim.news = (50, "", 0, None)
        assert ticker._tick() == heartbeats.TICK_AFTER_ERROR
        assert ticker._tick() == heartbeats.TICK_AFTER_ERROR
        assert ticker._tick() == claims.TICK
    assert Operation.objects.get().progress == 50
    assert claim.interruption is None


def test_inline_heartbeat__job_hears_nothing_of_a_failover() -> None:
    def job(operation: Job) -> int:
        outage.begin()
        operation.progress(50)
        operation.check_canceled()
        return 7

    with failover(lasts=1, begin=False) as outage:
        report, operation = run(job)
    assert (report.ending, operation.status) == (Ending.SUCCEEDED, Status.SUCCEEDED)


def lose() -> Operation:
    operation = held().operation
    long_ago = timezone.now() - timedelta(seconds=1)
    Operation.objects.filter(pk=operation.pk).update(lease_expires_at=long_ago)
    return operation


def publish() -> int:
    Operation.objects.due().update(published_at=None)
    return relay.publish_due()


@pytest.mark.parametrize("first", [publish, None], ids=["relay", "rescue"])
def test_turn__after_a_failover_healthy_jobs_get_to_renew_their_leases(
    first: Callable[[], int] | None,
) -> None:
    """Else all of them count as lost, since no heartbeat could be written either."""
    services.submit(echo)
    operation = lose()
    steps = [Duty("rescue", 0, rescue.rescue, rescues=True)]
    if first is not None:
        steps.insert(0, Duty("first", 0, first))
    thread = Maintenance(steps)
    with failover(lasts=1):
        thread.turn()
    for step in steps:
        step.due_at = 0
    thread.turn()
    operation.refresh_from_db()
    assert operation.status == Status.RUNNING


def test_turn__conflict_is_no_reason_to_mistrust_leases() -> None:
    """Two rescuers deadlock on a busy server each few seconds: nobody would be rescued any more."""

    def conflict() -> int:
        raise OperationalError(1213, "Deadlock found when trying to get lock")

    operation = lose()
    steps = [Duty("relay", 1, conflict), Duty("rescue", 1, rescue.rescue, rescues=True)]
    assert Maintenance(steps).turn() == 1
    operation.refresh_from_db()
    assert operation.status == Status.PENDING


def test_purge__failover_is_no_rows_fault() -> None:
    operation = services.submit(echo)
    services.cancel(operation)
    Operation.objects.update(purge_at=timezone.now() - timedelta(seconds=1))
    due = Operation.objects.get().purge_at
    with failover(), pytest.raises(Error):
        retention.purge()
    assert Operation.objects.get().purge_at == due
    assert retention.purge() == 1


def test_take_back__is_left_to_the_lease(caplog: pytest.LogCaptureFixture) -> None:
    operation = held().operation
    with failover():
        requests._take_back(operation.pk, worker="w1", timed_out=False)
    assert f"Operation id={operation.pk} is left to its lease" in caplog.text
    operation.refresh_from_db()
    assert operation.status == Status.RUNNING
