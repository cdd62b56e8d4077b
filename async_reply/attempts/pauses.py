"""Lets a job sleep or ask: its attempt ends, no process waits, and a later attempt goes on.

The job's call only raises. Once the job's function has ended, the runner stores the row, and makes
the operation pending, in one transaction. Whether a pause is over is judged by the time in its row
and the database's clock, and not by having been claimed.
"""

import json
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from async_reply import columns, lifecycle
from async_reply.attempts import outages
from async_reply.attempts.claims import Claim
from async_reply.attempts.kinds import MAX_DELAY, to_seconds
from async_reply.attempts.steps import Steps
from async_reply.database import alias
from async_reply.database.clock import DatabaseNow, as_stored, seconds_until
from async_reply.database.shapes import Columns
from async_reply.exceptions import JobPaused, NoAnswer, StepRefused
from async_reply.models import Operation, OperationStep

Sort = OperationStep.Sort


def sleep(
    steps: Steps,
    operation: Operation,
    name: str,
    until: datetime | None,
    units: Mapping[str, float | None],
) -> None:
    """Return if the job has slept under this name, else raise JobPaused."""
    end = end_of_sleep(until, units)
    row, is_repeated = steps.begin_pause(name, "A sleep")
    if row is not None and row.sort != Sort.SLEEP:
        raise StepRefused(f"{name!r} is the name of a {row.sort}: choose another for the sleep.")
    if row is None or is_repeated:
        check_attempts(operation)
        pk = None if row is None else row.pk
        steps.end_by(JobPaused(new_row(operation, name, Sort.SLEEP, pk=pk), end))
    if not is_over(row):
        steps.end_by(JobPaused(row, row.until, is_rest=True))


def ask(steps: Steps, claim: Claim, name: str, timeout: timedelta, asks: Collection[str]) -> Any:
    """Return the answer, or raise NoAnswer; raise JobPaused while there is neither."""
    operation = claim.operation
    row, seconds = begin_question(steps, name, timeout, asks)
    if row is None:
        check_attempts(operation)
        steps.end_by(JobPaused(new_row(operation, name, Sort.QUESTION), seconds))
    if row.is_open and not is_over(row):
        steps.end_by(JobPaused(row, row.until, is_rest=True))
    if row.is_open:
        _store_no_answer(claim, row)
    if row.exception:
        raise NoAnswer(f"Nobody has answered {name!r} in time.")
    return json.loads(row.value)


def begin_question(
    steps: Steps, name: str, timeout: timedelta, asks: Collection[str]
) -> tuple[OperationStep | None, float]:
    """The row of this question, and the seconds for an answer."""
    if name not in asks:
        raise StepRefused(
            f"The task declares no question {name!r}: add asks={{{name!r}: …}} to its "
            "@operation_task, with a serializer for the answer."
        )
    if not isinstance(timeout, timedelta):
        raise TypeError(f"ask(timeout=…) takes a timedelta, not {timeout!r}.")
    seconds = to_seconds(timeout, name="ask(timeout=…)")
    row, is_repeated = steps.begin_pause(name, "A question")
    if is_repeated or (row is not None and row.sort != Sort.QUESTION):
        raise StepRefused(f"This operation has a step {name!r} already: a question is asked once.")
    return row, seconds


def _store_no_answer(claim: Claim, row: OperationStep) -> None:
    """Store that nobody has answered, so that no later attempt finds an answer."""
    error = f"{NoAnswer.__module__}.{NoAnswer.__qualname__}"

    def commit() -> bool:
        with transaction.atomic(using=alias()):
            is_held = lifecycle.beat(claim.operation, **unsaved, **columns.FURTHER)
            rows = OperationStep.objects.filter(pk=row.pk) if is_held else None
            return rows is not None and rows.update(exception=error, ended_at=DatabaseNow()) > 0

    with claim.storing() as unsaved:
        if not outages.keep_trying(claim.operation.pk, commit):
            claim.lose()
    row.exception = error


def end_of_sleep(until: datetime | None, units: Mapping[str, float | None]) -> Any:
    """The time at which a sleep ends, or its seconds; raises TypeError or ValueError."""
    given = {name: number for name, number in units.items() if number is not None}
    if until is None:
        if not given:
            raise TypeError("sleep() takes a length, such as hours=2, or until=…")
        try:
            length = timedelta(**given)
        except (OverflowError, ValueError) as error:  # infinite, or no number
            raise ValueError(f"sleep(…) takes {MAX_DELAY.days} days at most.") from error
        return to_seconds(length, name="sleep(…)")
    if any(given.values()) or not isinstance(until, datetime):
        raise TypeError("sleep(until=…) takes a datetime, and no length besides.")
    if seconds_until(until) > MAX_DELAY.total_seconds():
        raise ValueError(f"sleep(until=…) ends after {MAX_DELAY.days} days at most.")
    return as_stored(until)


def check_attempts(operation: Operation) -> None:
    """Raise StepRefused for an operation that has had all its attempts: each pause costs one."""
    if operation.attempt >= columns.MAX_ATTEMPTS:
        raise StepRefused(
            f"The operation has had its {columns.MAX_ATTEMPTS:,} attempts, and a pause needs "
            "another: let each sleep be longer."
        )


def new_row(operation: Operation, name: str, sort: Sort, *, pk: int | None = None) -> OperationStep:
    attempt, operation_id = operation.attempt, operation.pk
    return OperationStep(pk=pk, operation_id=operation_id, name=name, sort=sort, attempt=attempt)


def is_over(row: OperationStep) -> bool:
    """Whether the time of the row is over, by the database's clock."""
    rows = OperationStep.objects.filter(pk=row.pk, until__lte=DatabaseNow())
    return bool(outages.read_for_job(row.operation_id, rows.exists))


def store(operation: Operation, pause: JobPaused, *, unsaved: Columns) -> bool:
    """Make the operation pending, then store the row; False if the guard did not match.

    The caller opens a transaction. Several tries store the same.
    """
    row, until = pause.row, pause.until
    is_new = row.pk is None
    paused = columns.paused(operation, until, is_rest=pause.is_rest)
    if not lifecycle.pause(operation, row.sort, paused, is_further=is_new, unsaved=unsaved):
        return False
    if pause.is_rest:
        return True
    # Both times are those of the operation's row: two statements would have two times.
    times = Operation.objects.values_list("updated_at", "available_at")
    since, until = times.get(pk=operation.pk)
    changes = {"since": since, "until": until, "attempt": row.attempt}
    if not is_new:
        OperationStep.objects.filter(pk=row.pk).update(**changes, ended_at=DatabaseNow())
        return True
    ordinal = operation.steps + 1
    fields = {"operation_id": row.operation_id, "name": row.name, "sort": row.sort}
    OperationStep.objects.create(**fields, **changes, ordinal=ordinal)
    return True
