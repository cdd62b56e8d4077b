"""The steps of an operation on its page, with waits and durations."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from async_reply.admin import timelines
from async_reply.models import Operation, OperationAttempt, ProcessCommand
from async_reply.status import Status

START = datetime(2026, 7, 1, 12, tzinfo=UTC)
Outcome = OperationAttempt.Outcome


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def operation(status: Status = Status.PENDING, **fields: Any) -> Operation:
    values = {"kind": "tests", "created_at": START, "available_at": START, "worker": "w1"}
    return Operation(status=status, **{**values, **fields})


def row(number: int, outcome: Outcome, begin: float, end: float) -> OperationAttempt:
    return OperationAttempt(
        number=number, outcome=outcome, started_at=at(begin), ended_at=at(end), worker="w1"
    )


def told(timeline: timelines.Timeline) -> list[tuple[str, str, str]]:
    """The name of each step, how long it took, and how long the operation then waited."""
    space = "\N{NO-BREAK SPACE}"
    return [
        (step.name, step.took.replace(space, " "), step.waited.replace(space, " "))
        for step in timeline.steps
    ]


def test_build__of_a_success_after_a_retry_and_a_loss() -> None:
    finished = operation(
        Status.SUCCEEDED,
        attempt=3,
        publishes=3,
        available_at=at(20),
        published_at=at(21),
        started_at=at(30),
        finished_at=at(50),
    )
    attempts = [row(1, Outcome.RETRY, 2, 5), row(2, Outcome.LOST, 6, 20)]
    timeline = timelines.build(finished, attempts=attempts, now=at(1000))
    assert told(timeline) == [
        ("submitted", "", "2.0 s"),
        ("retry", "3.0 s", "1.0 s"),
        ("lost", "14 s", "1.0 s"),
        ("published", "", "9.0 s"),
        ("succeeded", "20 s", ""),
        ("succeeded", "", ""),
    ]
    assert [(bar.name, bar.x, bar.width) for bar in timeline.bars] == [
        ("wait", 0, 40),
        ("run", 40, 60),
        ("wait", 100, 20),
        ("run", 120, 280),
        ("wait", 400, 200),
        ("run", 600, 400),
    ]
    assert timeline.steps[3].notes == ["Messages sent in all: 3."]
    assert (timeline.ran, timeline.waited) == ("37\xa0s", "13\xa0s")


def test_build__of_a_retry_that_is_delayed_waits_until_now() -> None:
    waiting = operation(attempt=1, available_at=at(300), started_at=at(2))
    timeline = timelines.build(waiting, attempts=[row(1, Outcome.RETRY, 2, 5)], now=at(65))
    assert told(timeline) == [
        ("submitted", "", "2.0 s"),
        ("retry", "3.0 s", "60 s"),
        ("due", "", ""),
    ]


def test_build__of_a_canceling_operation_does_not_wait() -> None:
    canceling = operation(
        Status.CANCELING, attempt=1, started_at=at(1), cancel_requested_at=at(5), publishes=1
    )
    timeline = timelines.build(canceling, attempts=[], now=at(61))
    assert told(timeline) == [
        ("submitted", "", "1.0 s"),
        ("canceling", "60 s", ""),
        ("canceling", "", ""),
    ]
    assert timeline.steps[1].title == "Attempt 1: canceling"


@pytest.mark.parametrize("status", [Status.CANCELED, Status.FAILED])
def test_build__without_an_attempt(status: Status) -> None:
    finished = operation(status, finished_at=at(9), error={"code": "c", "message": "m"})
    timeline = timelines.build(finished, attempts=[], now=at(100))
    assert told(timeline) == [("submitted", "", "9.0 s"), (status.value, "", "")]
    assert timeline.steps[-1].notes == (["c: m"] if status is Status.FAILED else [])
    assert [(bar.name, bar.width) for bar in timeline.bars] == [("wait", 1000)]


def test_build__of_a_failure_ends_with_its_attempt() -> None:
    failed = operation(Status.FAILED, attempt=1, started_at=at(1), finished_at=at(4))
    timeline = timelines.build(failed, attempts=[row(1, Outcome.FAILED, 1, 4.01)], now=at(100))
    assert [(bar.name, bar.x, bar.width) for bar in timeline.bars] == [
        ("wait", 0, 250),
        ("run", 250, 750),
    ]
    assert told(timeline) == [
        ("submitted", "", "1.0 s"),
        ("failed", "3.0 s", ""),
        ("failed", "", ""),
    ]


@pytest.mark.parametrize("answered", [False, True])
def test_build__says_that_an_operator_ended_the_process(answered: bool) -> None:
    running = operation(Status.RUNNING, attempt=2, started_at=at(10))
    end = ProcessCommand(name="end", attempt=2, given_at=at(20))
    end.answered_at = at(21) if answered else None
    look = ProcessCommand(name="show stack", attempt=1, given_at=at(2))
    timeline = timelines.build(
        running, attempts=[row(1, Outcome.LOST, 1, 9)], commands=[end, look], now=at(30)
    )
    assert timeline.steps[1].notes == ["The process died, or could not renew its lease."]
    told_to_end, *others = timeline.steps[2].notes
    assert told_to_end == "An operator told its process to end at 2026-07-01 12:00:20."
    assert others == (["The process runs other jobs as well, and did not end."] if answered else [])


def test_reasons__has_a_sentence_for_each_outcome() -> None:
    assert set(timelines.REASONS) == set(Outcome)
