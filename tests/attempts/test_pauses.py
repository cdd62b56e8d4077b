"""A job that sleeps: its attempt ends, no process waits, and a later attempt goes on."""

import math
import threading
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from async_reply import columns, services
from async_reply.attempts.jobs import Job
from async_reply.attempts.reports import Ending
from async_reply.database.clock import after, seconds_until
from async_reply.estimates import reasons
from async_reply.estimates.forecasts import Forecast
from async_reply.exceptions import JobPaused, StepRefused
from async_reply.models import Operation, OperationAttempt, OperationStep
from async_reply.status import Status
from async_reply.testing import FakeJob, run_operations
from tests.attempts.scripts import Script
from tests.attempts.test_steps import called
from tests.project.tasks import echo

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("one_statement")]


def wake(operation: Operation) -> None:
    """Let the time of the sleep be over, and the operation be due."""
    OperationStep.of(operation).update(until=after(-1))
    Operation.objects.filter(pk=operation.pk).update(available_at=after(-1))


def sleeps_once(job: Job, calls: list[str]) -> str:
    job.step("before", called, calls, "before")
    job.sleep("cool down", hours=2)
    calls.append("after")
    return "done"


def test_sleep__ends_the_attempt_and_a_later_one_goes_on() -> None:
    script = Script(sleeps_once)
    assert script.attempt().ending is Ending.PAUSED
    row, step = script.operation, OperationStep.objects.get(name="cool down")
    assert (row.status, row.pause, row.steps) == (Status.PENDING, "sleep", 2)
    assert row.available_at == step.until
    assert step.until - step.since == timedelta(hours=2)
    assert script.attempt().ending is Ending.NOT_MINE
    wake(row)
    assert script.attempt().ending is Ending.SUCCEEDED
    assert script.calls == ["before", "after"]
    assert (script.operation.pause, script.operation.retries) == ("", 0)
    assert not OperationAttempt.objects.exists()


def test_sleep__claimed_early_goes_back_for_the_rest() -> None:
    script = Script(sleeps_once)
    script.attempt()
    until = OperationStep.objects.get(name="cool down").until
    Operation.objects.update(available_at=after(0))
    assert script.attempt().ending is Ending.PAUSED
    assert script.operation.available_at == until
    assert (script.operation.steps, script.operation.attempt) == (2, 2)
    assert script.calls == ["before"]
    assert not OperationAttempt.objects.exists()


def give_up_at() -> Any:
    return Operation.objects.get().give_up_at


@pytest.mark.parametrize("is_date", [False, True], ids=["length", "date"])
def test_sleep__makes_the_time_of_all_attempts_longer_by_its_length_once(is_date: bool) -> None:
    def sleeps(job: Job, _calls: list[str]) -> None:
        until = timezone.now() + timedelta(hours=2) if is_date else None
        job.sleep("cool down", until=until, hours=0 if is_date else 2)

    script = Script(sleeps)
    Operation.objects.update(give_up_at=after(60))
    before = give_up_at()
    script.attempt()
    longer = give_up_at() - before
    assert abs(longer - timedelta(hours=2)) < timedelta(seconds=5)
    # The first attempt after the sleep comes too early, and goes back for the rest.
    Operation.objects.update(available_at=after(0))
    assert script.attempt().ending is Ending.PAUSED
    assert give_up_at() - before == longer


def test_sleep__until_a_time() -> None:
    until = timezone.now() + timedelta(days=3)
    script = Script(lambda job, _calls: job.sleep("weekend", until=until))
    script.attempt()
    assert script.operation.available_at == until


def test_sleep__of_the_same_name_in_a_loop_sleeps_anew() -> None:
    def look(job: Job, calls: list[str]) -> str:
        while len(calls) < 3:
            calls.append("look")
            job.sleep("look again", minutes=5)
        return "ready"

    script = Script(look)
    # The first call returns in the second attempt, since its time is over.
    for attempt in (1, 2):
        assert script.attempt().ending is Ending.PAUSED
        assert OperationStep.objects.get().attempt == attempt
        assert script.operation.steps == 1
        wake(script.operation)
    assert script.attempt().ending is Ending.SUCCEEDED


def test_sleep__gives_back_budgets_but_its_rest_does_not() -> None:
    script = Script(sleeps_once)
    Operation.objects.update(losses=1, retries=1)
    script.attempt()
    assert (script.operation.losses, script.operation.retries) == (0, 0)
    Operation.objects.update(losses=1, available_at=after(0))
    script.attempt()
    assert script.operation.losses == 1


def in_transaction(job: Job, _calls: list[str]) -> None:
    with transaction.atomic():
        job.sleep("a", hours=1)


def in_step(job: Job, _calls: list[str]) -> None:
    job.step("outer", lambda: job.sleep("a", hours=1))


def in_atomic_step(job: Job, _calls: list[str]) -> None:
    job.step("outer", lambda: job.sleep("a", hours=1), atomic=True)


def in_thread(job: Job, _calls: list[str]) -> None:
    errors: list[BaseException] = []

    def sleep() -> None:
        try:
            job.sleep("a", hours=1)
        except StepRefused as error:
            errors.append(error)

    thread = threading.Thread(target=sleep)
    thread.start()
    thread.join()
    raise errors[0]


def after_step_of_name(job: Job, _calls: list[str]) -> None:
    job.step("a", str)
    job.sleep("a", hours=1)


@pytest.mark.parametrize(
    "function", [in_transaction, in_step, in_atomic_step, in_thread, after_step_of_name]
)
def test_sleep__is_refused(function: Any) -> None:
    script = Script(function, max_retries=0)
    report = script.attempt()
    assert report.ending is Ending.FAILED
    assert isinstance(report.error, StepRefused)
    assert not OperationStep.objects.filter(sort="sleep").exists()


def test_sleep__is_refused_after_the_job_and_for_a_step_of_its_name() -> None:
    jobs: list[Job] = []

    def keep(job: Job, _calls: list[str]) -> None:
        jobs.append(job)
        if job.attempt == 1:
            job.sleep("a", hours=1)
        job.step("a", str)

    script = Script(keep, max_retries=0)
    script.attempt()
    with pytest.raises(StepRefused, match="over"):
        jobs[0].sleep("b", hours=1)
    wake(script.operation)
    assert isinstance(script.attempt().error, StepRefused)


def test_sleep__is_refused_in_the_last_attempt() -> None:
    script = Script(sleeps_once)
    Operation.objects.update(attempt=columns.MAX_ATTEMPTS - 1)
    assert isinstance(script.attempt().error, StepRefused)


def test_sleep__that_is_swallowed_pauses_all_the_same() -> None:
    def swallow(job: Job, _calls: list[str]) -> None:
        with suppress(JobPaused):
            job.sleep("a", hours=1)

    script = Script(swallow)
    assert script.attempt().ending is Ending.PAUSED
    assert script.operation.status == Status.PENDING


def test_sleep__after_a_cancel_ends_canceled() -> None:
    def cancel(job: Job, _calls: list[str]) -> None:
        try:
            job.sleep("a", hours=1)
        finally:
            services.cancel(Operation.objects.get())

    script = Script(cancel)
    assert script.attempt().ending is Ending.CANCELED
    assert not OperationStep.objects.exists()


def test_sleep__can_be_canceled_and_calls_on_cancel() -> None:
    script = Script(sleeps_once)
    script.attempt()
    assert services.cancel(script.operation) is Status.CANCELED


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, TypeError),
        ({"hours": -1}, ValueError),
        ({"days": 366}, ValueError),
        ({"days": 1e12}, ValueError),
        ({"hours": math.inf}, ValueError),
        ({"hours": math.nan}, ValueError),
        ({"until": timezone.now() + timedelta(days=366)}, ValueError),
        ({"until": timezone.now(), "hours": 1}, TypeError),
        ({"until": 3}, TypeError),
    ],
)
def test_sleep__refuses_lengths(arguments: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        FakeJob().sleep("a", **arguments)


@pytest.mark.parametrize("arguments", [{"seconds": 0}, {"hours": 1, "minutes": -60}])
def test_sleep__takes_a_computed_length_of_zero(arguments: Any) -> None:
    script = Script(lambda job, _calls: job.sleep("until the limit is reset", **arguments))
    assert script.attempt().ending is Ending.PAUSED
    assert script.attempt().ending is Ending.SUCCEEDED


def test_sleep__polls_are_five_minutes_apart_and_the_reason_says_it() -> None:
    script = Script(sleeps_once)
    script.attempt()
    assert Forecast(script.operation).retry_after == 300
    reason = reasons.why_pending(script.operation)
    assert reason is not None
    assert reason.cause is reasons.Cause.ASLEEP
    assert "sleeps until" in reason.sentence
    wake(script.operation)
    script.operation.refresh_from_db()
    assert Forecast(script.operation).retry_after < 300


def test_time_asleep__is_no_part_of_the_time_limit() -> None:
    script = Script(sleeps_once, time_limit=60)
    script.attempt()
    wake(script.operation)
    Operation.objects.update(started_at=after(-7200), deadline_at=after(-7000))
    assert script.attempt().ending is Ending.SUCCEEDED
    began, ended = script.operation.started_at, script.operation.finished_at
    assert began is not None
    assert ended is not None
    assert (ended - began).total_seconds() < 60


def test_fake_job__notes_sleeps_and_goes_on() -> None:
    job, until = FakeJob(), timezone.now()
    job.sleep("a", hours=2)
    job.sleep("b", until=until)
    job.sleep("a", hours=2)
    assert job.slept == [
        ("a", timedelta(hours=2)),
        ("b", until),
        ("a", timedelta(hours=2)),
    ]
    assert job.steps == {}


def test_run_operations__takes_sleeps_as_over() -> None:
    script = Script(sleeps_once)
    script.attempt()
    assert run_operations() == []
    Operation.objects.update(kind=echo.name)
    # The job of this row has no sleep: the row is due, and its sleep is over.
    assert [report.ending for report in run_operations(advance=True)] == [Ending.SUCCEEDED]
    assert seconds_until(OperationStep.objects.get(name="cool down").until) <= 0
