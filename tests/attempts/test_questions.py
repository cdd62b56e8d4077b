"""A job that asks a person: it goes on with the answer, or with NoAnswer."""

from datetime import timedelta
from typing import Any

import pytest
from rest_framework import serializers

from async_reply import lifecycle, services, signals
from async_reply.attempts import pauses
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.attempts.reports import Ending
from async_reply.database.clock import after
from async_reply.estimates import reasons
from async_reply.estimates.forecasts import Forecast
from async_reply.exceptions import AlreadyFinished, NoAnswer, NotAsked, StepRefused
from async_reply.models import Operation, OperationAttempt, OperationStep
from async_reply.status import Status
from async_reply.tasks import registered
from async_reply.testing import FakeJob, run_operations
from tests.attempts.scripts import Script
from tests.attempts.test_pauses import wake
from tests.project.questions import ApprovalSerializer, approve

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("one_statement")]

WEEK = timedelta(days=7)
YES = {"approved": True, "note": "fine"}


def asked() -> Operation:
    """An operation whose job asks."""
    operation = services.submit(approve)
    assert [report.ending for report in run_operations()] == [Ending.PAUSED]
    row: Operation = Operation.objects.get(pk=operation.pk)
    return row


def test_ask__goes_on_with_the_answer() -> None:
    operation = asked()
    row = OperationStep.objects.get(sort="question")
    assert (operation.status, operation.pause) == (Status.PENDING, "question")
    assert row.until is not None
    assert row.since is not None
    assert (row.until - row.since, row.attempt) == (timedelta(days=3), 1)
    assert operation.available_at == row.until
    version, publishes = operation.version, operation.publishes
    services.answer(operation, "approve", {**YES, "day": "2026-12-24"}, by="7")
    operation = Operation.objects.get()
    assert (operation.pause, operation.version) == ("", version + 1)
    assert operation.publishes == publishes + 1
    assert [report.ending for report in run_operations()] == [Ending.SUCCEEDED]
    result = Operation.objects.get().result.value
    # The answer is JSON, as a step's value is.
    assert result == {"answer": {"approved": True, "note": "fine", "day": "2026-12-24"}}
    row.refresh_from_db()
    assert row.answered_by == "7"
    assert not OperationAttempt.objects.exists()


def test_ask__only_the_wait_for_the_answer_makes_the_time_of_all_attempts_longer() -> None:
    operation = services.submit(approve)
    Operation.objects.update(give_up_at=after(60))
    before = Operation.objects.get().give_up_at
    run_operations()
    waiting = Operation.objects.get()
    assert abs(waiting.give_up_at - before - timedelta(days=3)) < timedelta(seconds=5)
    services.answer(waiting, "approve", YES, by="7")
    operation.refresh_from_db()
    assert abs(operation.give_up_at - before) < timedelta(seconds=5)


def test_answer__is_refused_where_nobody_knows_the_task() -> None:
    """The web's code may be older, or newer, than the code that submitted."""
    operation = asked()
    Operation.objects.update(kind="tests.gone")
    operation.refresh_from_db()
    with pytest.raises(NotAsked, match="does not declare"):
        services.answer(operation, "approve", YES)
    assert OperationStep.objects.get(sort="question").is_open


def test_ask__the_same_answer_again_changes_nothing() -> None:
    operation = asked()
    services.answer(operation, "approve", YES, by="7")
    version = Operation.objects.get().version
    for when in ("before the job", "after it"):
        again = Operation.objects.get()
        assert services.answer(again, "approve", YES, by="7").answered_by == "7", when
        with pytest.raises(NotAsked):
            services.answer(again, "approve", YES, by="8")
        with pytest.raises(NotAsked):
            services.answer(again, "approve", {"approved": False}, by="7")
        assert Operation.objects.get().version == version or when == "after it"
        run_operations()


def test_ask__a_bad_answer_changes_nothing() -> None:
    operation = asked()
    with pytest.raises(serializers.ValidationError):
        services.answer(operation, "approve", {"approved": "perhaps"})
    assert Operation.objects.get().version == operation.version
    assert OperationStep.objects.get(sort="question").is_open


def test_ask__not_answered_in_time() -> None:
    asked()
    reports = run_operations(advance=True)
    assert [report.ending for report in reports] == [Ending.SUCCEEDED]
    operation = Operation.objects.get()
    assert operation.result.value == {"answer": None}
    with pytest.raises(AlreadyFinished):
        services.answer(operation, "approve", YES)
    row = OperationStep.objects.get(sort="question")
    assert row.exception == "async_reply.exceptions.NoAnswer"


def test_ask__no_answer_is_stored_before_it_is_raised() -> None:
    def decide(job: Job, _calls: list[str]) -> str:
        try:
            job.ask("approve", timeout=WEEK)
        except NoAnswer:
            if job.attempt == 2:
                raise OSError("lost") from None
            return "no"
        return "yes"

    script = Script(decide, asks={"approve": ApprovalSerializer})
    script.attempt()
    wake(script.operation)
    assert script.attempt().ending is Ending.AGAIN
    # Between two attempts the operation is pending, and the question has its outcome.
    for name in ("approve", "other"):
        with pytest.raises(NotAsked):
            services.answer(script.operation, name, YES)
    script.attempt()
    assert script.operation.result.value == "no"


def test_ask__claimed_early_goes_back_for_the_rest() -> None:
    operation = asked()
    Operation.objects.update(available_at=after(0))
    assert [report.ending for report in run_operations()] == [Ending.PAUSED]
    again = Operation.objects.get()
    assert (again.available_at, again.steps) == (operation.available_at, 1)
    assert OperationStep.objects.get().attempt == 1
    services.answer(again, "approve", YES)


def test_ask__takes_an_answer_after_its_time_until_an_attempt_begins() -> None:
    operation = asked()
    wake(operation)
    services.answer(Operation.objects.get(), "approve", YES)
    run_operations()
    assert Operation.objects.get().result.value["answer"]["approved"] is True


def test_answer__while_running_is_refused() -> None:
    operation = asked()
    wake(operation)
    operation.refresh_from_db()
    assert lifecycle.claim(operation, worker="w1")
    with pytest.raises(NotAsked):
        services.answer(Operation.objects.get(), "approve", YES)


def test_answer__that_meets_a_claim_looks_again() -> None:
    stale = asked()
    wake(stale)
    assert lifecycle.claim(Operation.objects.get(), worker="w1")
    with pytest.raises(NotAsked):
        services.answer(stale, "approve", YES)
    assert OperationStep.objects.get().is_open


def test_answer__after_a_cancel_and_a_cancel_after_an_answer() -> None:
    operation = asked()
    services.answer(operation, "approve", YES)
    assert services.cancel(Operation.objects.get()) is Status.CANCELED
    other = asked()
    services.cancel(other)
    with pytest.raises(AlreadyFinished):
        services.answer(other, "approve", YES)


def test_answer__to_a_question_that_the_task_declares_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    operation = asked()
    monkeypatch.setattr(approve, "kind", Kind(name=approve.name, function=approve.kind.function))
    with pytest.raises(NotAsked):
        services.answer(operation, "approve", YES)


def test_no_answer__of_a_lost_claim_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    asked()

    def lose(_row: OperationStep) -> bool:
        Operation.objects.update(attempt=7)
        return True

    monkeypatch.setattr(pauses, "is_over", lose)
    Operation.objects.update(available_at=after(0))
    assert [report.ending for report in run_operations(limit=1)] == [Ending.NOT_MINE]
    assert OperationStep.objects.get().is_open


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (lambda job, _calls: job.ask("other", timeout=WEEK), StepRefused),
        (lambda job, _calls: job.ask("approve", timeout=3), TypeError),
        (lambda job, _calls: job.ask("approve", timeout=timedelta(days=366)), ValueError),
        (
            lambda job, _calls: job.step("approve", str) or job.ask("approve", timeout=WEEK),
            StepRefused,
        ),
        (lambda job, _calls: job.step("a", lambda: job.ask("approve", timeout=WEEK)), StepRefused),
    ],
)
def test_ask__is_refused(function: Any, error: type[Exception]) -> None:
    script = Script(function, max_retries=0, asks={"approve": ApprovalSerializer})
    assert isinstance(script.attempt().error, error)
    assert not OperationStep.objects.filter(sort="question").exists()


@pytest.mark.parametrize(
    ("asks", "error"),
    [
        (["approve"], TypeError),
        ({"approve": dict}, TypeError),
        ({"approve": ApprovalSerializer()}, TypeError),
        ({"a/b": ApprovalSerializer}, ValueError),
        ({3: ApprovalSerializer}, ValueError),
    ],
)
def test_asks__refuses_what_is_no_question(asks: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="asks"):
        Kind(name="a", function=lambda operation: None, asks=asks)
    assert approve.name in registered


def test_asked__is_signaled_once() -> None:
    heard: list[tuple[Any, str]] = []

    def hear(operation: Operation, name: str, **_kwargs: Any) -> None:
        heard.append((operation.pk, name))

    signals.operation_asked.connect(hear)
    try:
        operation = asked()
        Operation.objects.update(available_at=after(0))
        run_operations()
    finally:
        signals.operation_asked.disconnect(hear)
    assert heard == [(operation.pk, "approve")]


def test_asked__is_polled_each_minute_without_an_estimate() -> None:
    operation = asked()
    forecast = Forecast(operation)
    assert (forecast.retry_after, forecast.eta_seconds, forecast.queue_position) == (60, None, None)
    reason = reasons.why_pending(operation)
    assert reason is not None
    assert reason.cause is reasons.Cause.ASKED


def test_no_answer__that_is_not_caught_tells_the_client() -> None:
    script = Script(
        lambda job, _calls: job.ask("approve", timeout=WEEK),
        max_retries=0,
        asks={"approve": ApprovalSerializer},
    )
    script.attempt()
    wake(script.operation)
    report = script.attempt()
    assert (report.ending, report.code, report.is_refusal) == (Ending.FAILED, "no-answer", True)


def test_fake_job__answers() -> None:
    job = FakeJob(answers={"approve": YES})
    assert job.ask("approve", timeout=WEEK) == YES
    with pytest.raises(NoAnswer):
        job.ask("other", timeout=WEEK)
    with pytest.raises(StepRefused):
        job.ask("approve", timeout=WEEK)
    assert job.steps == {}
