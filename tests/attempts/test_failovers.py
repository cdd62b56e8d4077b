"""A database that is read-only for a while: writes wait for it, and no job fails because of it.

The tests cover the claim, each way in which an attempt ends (and the read of the row after a lost
COMMIT), the heartbeats of the thread and of an inline job, the steps of maintenance, the purge, the
rescue from a dead process, and a callback of `on_finish`.
Answers to clients are in tests/views/test_outages.py, the admin in tests/admin/test_actions.py.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import Error, InterfaceError, InternalError, OperationalError, transaction
from django.utils import timezone
from pytest_django import Settings

from async_reply import lifecycle, services
from async_reply.attempts import claims, outages, rescue, results, runner
from async_reply.attempts.claims import Claim
from async_reply.attempts.heartbeats import Heart
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.attempts.reports import Ending, Report
from async_reply.exceptions import DatabaseAway, OperationCanceled
from async_reply.models import Operation, OperationAttempt, OperationResult
from async_reply.publishing import relay
from async_reply.services import retention
from async_reply.status import Status
from async_reply.worker import requests
from async_reply.worker.maintenance import Duty, Maintenance
from tests.failover import failover
from tests.project.tasks import echo

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("one_statement")]


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "PAUSE_SECONDS", 0)


def run(function: Callable[[Job], Any], **options: Any) -> tuple[Report, Any]:
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
def test_run__end_of_an_attempt_is_stored_after_a_failover(
    job: Callable[[Job], Any], status: Status
) -> None:
    def begin_outage(operation: Job) -> Any:
        operation._claim.interruption = OperationCanceled if job is cancel else None
        try:
            return job(operation)
        finally:
            outage.begin()

    with failover(lasts=2, begin=False) as outage:
        operation = run(begin_outage)[1]
    assert outage.opened == 2
    assert (operation.status, operation.attempt, operation.losses) == (status, 1, 0)
    assert OperationResult.objects.count() == (status == Status.SUCCEEDED)
    if status == Status.FAILED:
        assert "ZeroDivisionError" in OperationAttempt.objects.get().exception


def test_run__claims_after_a_failover() -> None:
    operation = services.submit(echo)
    with failover(lasts=2):
        report = runner.run(operation.pk, echo.kind, worker="w1", inline=True)
    assert (report.ending, Operation.objects.get().attempt) == (Ending.SUCCEEDED, 1)


#: Errors that last for longer than a lease: a long failover, missing rights or tables.
LASTING = [InternalError, OperationalError, InterfaceError, Error]


@pytest.mark.parametrize("kind", LASTING)
@pytest.mark.parametrize("job", [job for job, status in ENDS if status == Status.SUCCEEDED])
def test_run__error_while_storing_does_not_fail_the_job(
    kind: type[Error],
    job: Callable[[Job], Any],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only `succeed` is refused here. A failure could be written, and must not be."""

    def refuse(*_: Any, **__: Any) -> bool:
        raise kind("refused") from OSError()

    settings.ASYNC_REPLY = {"LEASE": 0.1}
    monkeypatch.setattr(lifecycle, "succeed", refuse)
    operation = services.submit(echo)
    with pytest.raises(DatabaseAway, match=str(operation.pk)):
        runner.run(operation.pk, Kind(name=echo.name, function=job), worker="w1", inline=True)
    assert Operation.objects.get(pk=operation.pk).status == Status.RUNNING
    assert not OperationAttempt.objects.exists()


def test_run__reads_the_row_after_a_lost_answer_and_a_failover(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    succeed, is_stored = lifecycle.succeed, results.is_stored
    errors = [OperationalError("the answer was lost")]
    read_errors = [OperationalError("away")]

    def lose_answer(*args: Any, **options: Any) -> bool:
        succeeded = succeed(*args, **options)
        if errors:
            transaction.on_commit(lambda: (_ for _ in ()).throw(errors.pop()))
        return succeeded

    def fail_to_read(operation: Operation) -> bool:
        if read_errors:
            raise read_errors.pop()
        return is_stored(operation)

    monkeypatch.setattr(lifecycle, "succeed", lose_answer)
    monkeypatch.setattr(results, "is_stored", fail_to_read)
    report, operation = run(with_file)
    assert (report.ending, operation.status) == (Ending.SUCCEEDED, Status.SUCCEEDED)
    assert (errors, read_errors) == ([], [])


@pytest.mark.parametrize("kind", [InternalError, OperationalError])
def test_run__callback_fails_the_job_only_while_the_database_serves(
    kind: type[Error], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is back right after the last try. Until then the callback fails."""
    settings.ASYNC_REPLY = {"LEASE": 0.1}
    beats: list[bool] = []
    beat = lifecycle.beat

    def beat_and_come_back(*args: Any, **options: Any) -> bool:
        is_held = beat(*args, **options)
        beats.append(is_held)
        return is_held

    def job(operation: Job) -> int:
        def finish() -> None:
            if not beats:
                raise kind("away")

        operation.on_finish(finish)
        monkeypatch.setattr(lifecycle, "beat", beat_and_come_back)
        return 7

    report, operation = run(job)
    assert (report.ending, operation.status) == (Ending.SUCCEEDED, Status.SUCCEEDED)


def claim_operation() -> Claim:
    operation = services.submit(echo)
    assert lifecycle.claim(operation, worker="w1")
    return Claim(operation, inline=False)


def test_heart__goes_on_after_a_failover(caplog: pytest.LogCaptureFixture) -> None:
    claim, heart = claim_operation(), Heart()
    heart._claims.append(claim)
    with failover(lasts=1):
        claim.progress = (50, "", 0, None)
        assert heart._beat() == outages.PAUSE_SECONDS
        assert heart._beat() == outages.PAUSE_SECONDS
        assert heart._beat() == claims.BEAT_SECONDS
    assert Operation.objects.get().progress == 50
    assert claim.interruption is None


def test_inline_beat__failover_does_not_reach_the_job() -> None:
    def job(operation: Job) -> int:
        outage.begin()
        operation.progress(50)
        operation.check_canceled()
        return 7

    with failover(lasts=1, begin=False) as outage:
        report, operation = run(job)
    assert (report.ending, operation.status) == (Ending.SUCCEEDED, Status.SUCCEEDED)


def lose() -> Operation:
    operation = claim_operation().operation
    long_ago = timezone.now() - timedelta(seconds=1)
    Operation.objects.filter(pk=operation.pk).update(lease_expires_at=long_ago)
    return operation


def publish() -> int:
    Operation.objects.due().update(published_at=None)
    return relay.publish_due()


@pytest.mark.parametrize("first", [publish, None], ids=["relay", "rescue"])
def test_turn__after_a_failover_rescues_nobody_for_a_lease(
    first: Callable[[], int] | None,
) -> None:
    """No heartbeat could be written either, so all jobs would count as lost."""
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


def test_turn__rescues_right_after_a_conflict() -> None:
    """Conflicts are frequent on a busy server. Waiting after each would end all rescues."""

    def conflict() -> int:
        raise OperationalError(1213, "Deadlock found when trying to get lock")

    operation = lose()
    steps = [Duty("relay", 1, conflict), Duty("rescue", 1, rescue.rescue, rescues=True)]
    assert Maintenance(steps).turn() == 1
    operation.refresh_from_db()
    assert operation.status == Status.PENDING


def test_purge__goes_on_after_a_failover() -> None:
    operation = services.submit(echo)
    services.cancel(operation)
    Operation.objects.update(purge_at=timezone.now() - timedelta(seconds=1))
    purge_at = Operation.objects.get().purge_at
    with failover(), pytest.raises(Error):
        retention.purge()
    assert Operation.objects.get().purge_at == purge_at
    assert retention.purge() == 1


def test_from_dead_process__waits_for_the_lease_in_a_failover(
    caplog: pytest.LogCaptureFixture,
) -> None:
    operation = claim_operation().operation
    with failover():
        requests._take_back(operation.pk, worker="w1", timed_out=False)
    assert f"Operation id={operation.pk} is left to its lease" in caplog.text
    operation.refresh_from_db()
    assert operation.status == Status.RUNNING
