"""Half of an attempt's time, and the time of all attempts together."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from async_reply import lifecycle, services
from async_reply.attempts import claims, giving_up, runner
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.attempts.reports import Ending, Report
from async_reply.database.clock import after
from async_reply.exceptions import AttemptGivenBack
from async_reply.models import Operation, OperationAttempt
from async_reply.status import Status
from tests.project.tasks import echo

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("one_statement")]


def message() -> str:
    """The text of the one operation's problem."""
    error: Any = Operation.objects.get().error
    return str(error["message"])


TOGETHER = "The operation exceeded the time limit of all its attempts together."


def run(function: Callable[[Job], Any], **options: Any) -> Report:
    """Run the one operation, which may have been submitted before."""
    operation = Operation.objects.first() or services.submit(echo)
    kind = Kind(name=echo.name, function=function, **options)
    return runner.run(operation.pk, kind, worker="w", inline=True)


def submitted(**columns: Any) -> Operation:
    operation = services.submit(echo)
    Operation.objects.filter(pk=operation.pk).update(**columns)
    operation.refresh_from_db()
    return operation


def pass_half(job: Job) -> None:
    job._claim.halftime.half_at = time.monotonic()


def test_halftime__ends_the_attempt_between_two_steps() -> None:
    calls: list[int] = []

    def job(operation: Job) -> int:
        pass_half(operation)
        return sum(operation.step(f"step {number}", work, number) for number in range(3))

    def work(number: int) -> int:
        calls.append(number)
        return number

    endings = [run(job).ending for _ in range(4)]
    assert endings == [Ending.AGAIN] * 3 + [Ending.SUCCEEDED]
    assert calls == [0, 1, 2]
    outcomes = OperationAttempt.objects.order_by("number").values_list("outcome", flat=True)
    assert list(outcomes) == ["released"] * 3
    operation = Operation.objects.get()
    assert (operation.retries, operation.losses, operation.result.value) == (0, 0, 3)


def test_halftime__ends_the_attempt_between_two_items() -> None:
    items: list[int] = []

    def job(operation: Job) -> None:
        pass_half(operation)
        items.extend(operation.track(range(3), resume="items"))

    endings = [run(job).ending for _ in range(4)]
    assert endings == [Ending.AGAIN] * 3 + [Ending.SUCCEEDED]


def test_halftime__is_looked_at_before_a_step_of_an_attempt_that_got_further() -> None:
    calls: list[str] = []

    def job(operation: Job) -> None:
        operation.step("a", calls.append, "a")
        pass_half(operation)
        operation.step("b", calls.append, "b")

    assert run(job).ending is Ending.AGAIN
    assert calls == ["a"]
    # The second attempt finds the time over, too: without the step it would never end.
    assert run(job).ending is Ending.AGAIN
    assert calls == ["a", "b"]
    assert run(job).ending is Ending.SUCCEEDED


def test_halftime__of_a_job_that_must_not_run_twice() -> None:
    submitted(max_losses=0, time_limit=1)

    def job(operation: Job) -> None:
        assert operation._claim.halftime.half_at > time.monotonic() + 3600
        operation.step("a", str)

    assert run(job).ending is Ending.SUCCEEDED


def test_halftime__that_the_job_ignores_ends_in_the_time_limit() -> None:
    def job(operation: Job) -> None:
        pass_half(operation)
        with pytest.raises(AttemptGivenBack):
            operation.step("a", str)
        operation._claim.deadline = time.monotonic()
        operation.check_canceled()

    report = run(job)
    assert (report.ending, report.code) == (Ending.FAILED, "timed-out")


@pytest.mark.parametrize(("give_up", "expected"), [(100, 100), (5000, 3600), (None, 3600)])
def test_claim__deadline_is_the_earlier_of_both(give_up: int | None, expected: int) -> None:
    operation = submitted(give_up_at=None if give_up is None else after(give_up))
    claimed = lifecycle.claim_unread(operation.pk, worker="w")
    assert claimed is not None
    row = Operation.objects.get()
    assert row.deadline_at - row.started_at <= timedelta(seconds=expected)
    assert row.deadline_at - row.started_at > timedelta(seconds=expected - 30)
    assert row.lease_expires_at <= row.deadline_at
    claim = claims.Claim(claimed, inline=True)
    left = claim.deadline - time.monotonic()
    assert expected - 30 < left <= expected
    # A further attempt would have no more time.
    halves = (0, expected / 2) if expected == 3600 else (1e9, float("inf"))
    assert halves[0] <= claim.halftime.half_at - time.monotonic() <= halves[1]


def test_run__after_the_time_of_all_attempts_begins_no_work() -> None:
    submitted(give_up_at=after(-1), deadline_at=after(-50), started_at=after(-100))
    calls: list[Job] = []

    def job(operation: Job) -> None:
        calls.append(operation)

    report = run(job)
    assert (report.ending, report.code, calls) == (Ending.FAILED, "timed-out", [])
    assert message() == TOGETHER
    assert OperationAttempt.objects.get().outcome == "timed out"


def test_rescue__after_the_time_of_all_attempts_says_so() -> None:
    operation = submitted(give_up_at=after(-1))
    assert lifecycle.claim(operation, worker="w")
    operation.refresh_from_db()
    assert lifecycle.rescue(operation) is Status.FAILED
    assert message() == TOGETHER


def test_retry__waits_no_longer_than_the_time_of_all_attempts() -> None:
    submitted(give_up_at=after(100), max_retries=1)

    def job(operation: Job) -> None:
        operation.retry(after=5000)

    assert run(job).ending is Ending.AGAIN
    operation = Operation.objects.get()
    assert operation.available_at == operation.give_up_at


def test_attempts__add_up_their_seconds() -> None:
    submitted(max_retries=2)

    def job(operation: Job) -> None:
        Operation.objects.update(started_at=after(-40))
        if operation.attempt < 3:
            operation.retry(after=0)

    run(job)
    assert 40 <= Operation.objects.get().earlier_seconds < 60
    run(job)
    assert 80 <= Operation.objects.get().earlier_seconds < 110
    run(job)
    # Those of the last attempt are the time from its start to the end.
    assert 80 <= Operation.objects.get().earlier_seconds < 110


def test_give_up__ends_operations_that_are_due() -> None:
    overdue = submitted(give_up_at=after(-1), attempt=3).pk
    others = [
        submitted(give_up_at=after(100)),
        submitted(),
        submitted(give_up_at=after(-1), available_at=after(100)),
    ]
    assert giving_up.give_up() == 1
    ended = Operation.objects.get(status=Status.FAILED)
    assert (ended.pk, (ended.error or {})["message"]) == (overdue, TOGETHER)
    for operation in others:
        operation.refresh_from_db()
        assert operation.status == Status.PENDING


def test_give_up__leaves_an_operation_that_was_claimed_in_the_meantime() -> None:
    operation = submitted(give_up_at=after(-1))
    Operation.objects.update(attempt=1)
    assert not giving_up._give_up(operation)
    assert Operation.objects.get().status == Status.PENDING


def test_give_up__calls_on_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    failed: list[Operation] = []
    kind = Kind(name=echo.name, function=lambda operation: None, on_failure=failed.append)
    monkeypatch.setattr("async_reply.attempts.compensation.known_kinds", {echo.name: kind})
    operation = submitted(give_up_at=after(-1))
    assert giving_up.give_up() == 1
    assert failed == [operation]
