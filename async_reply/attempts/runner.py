"""Runs one attempt at an operation, for its Celery task: claims it, runs the job, finishes it.

`run` is the whole story. An attempt ends in one of three ways: its result is stored, its error is
stored or leads to a retry, or somebody ended it from outside.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any
from uuid import UUID

from django.db import Error

from async_reply import lifecycle, signals
from async_reply.attempts import (
    failures,
    finishing,
    heartbeats,
    outages,
    processes,
    results,
    surroundings,
)
from async_reply.attempts.claims import Claim
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.attempts.sessions import Sessions
from async_reply.database import alias, statements
from async_reply.exceptions import ClaimLost, DatabaseAway, OperationCanceled, WorkerStopping
from async_reply.logs import logger
from async_reply.models import Operation, OperationAttempt
from async_reply.status import Status

#: Interruptions that end an attempt without an outcome of its own.
FROM_OUTSIDE = (ClaimLost, OperationCanceled, WorkerStopping)


class Ending(Enum):
    """How an attempt ended, for the caller of `run`."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    #: The operation is pending again: a retry, or a worker that stops.
    AGAIN = "again"
    #: The operation was not due, or another attempt holds it.
    NOT_MINE = "not mine"


@dataclass(frozen=True)
class Report:
    """An attempt's ending, and the exception of a failed one.

    `is_refusal`: the job chose to fail, by an exception whose text the client is told.
    """

    ending: Ending
    error: BaseException | None = None
    is_refusal: bool = False


def run(pk: UUID, kind: Kind, *, worker: str, inline: bool = False) -> Report:
    """Run one attempt at the operation if it is pending and due; report how it ended.

    The report holds the exception of a job that failed. `worker` names the process. An `inline`
    attempt has no heartbeat thread. It renews its lease at the job's own calls.
    """
    operation = outages.keep_trying(
        pk, lambda: lifecycle.claim_unread(pk, worker=worker, kind=kind.name)
    )
    if operation is None:
        _log_refused_claim(pk, kind)
        return Report(Ending.NOT_MINE)
    interrupt = kind.cancel == "interrupt"
    with heartbeats.kept_alive(operation, inline=inline, interrupt=interrupt) as claim:
        job = Job(operation, claim)
        try:
            report = _attempt(kind, job, claim)
        finally:
            job.close()
    if report.ending is not Ending.FAILED:  # failures.log has said more about these
        logger.info("Operation id=%s kind=%s status=%s", pk, kind.name, report.ending.value)
    return report


def _attempt(kind: Kind, job: Job, claim: Claim) -> Report:
    sessions = Sessions(inline=claim.inline)
    try:
        result = _run_job(kind, job, claim, sessions)
        return _succeed(claim, job, result)
    except BaseException as raised:
        processes.end_forked_child(claim.pid, raised)
        sessions.clean_up(raised)
        error = claim.find_cause(raised)
        if claim.interruption is not None and isinstance(error, FROM_OUTSIDE):
            return _end_from_outside(claim, error)
        if claim.is_lost or isinstance(error, DatabaseAway):
            raise
        return _retry_or_fail(claim, kind, error)


def _run_job(kind: Kind, job: Job, claim: Claim, sessions: Sessions) -> results.JobResult:
    """Call the job's function, then undo what it left in the process and in its sessions."""
    operation = claim.operation
    with surroundings.preserved(), sessions.watched():
        logger.info(
            "Operation id=%s kind=%s status=running attempt=%s",
            operation.pk,
            kind.name,
            operation.attempt,
        )
        signals.send(signals.operation_started, operation)
        with claim.interrupts_allowed():
            returned = surroundings.call_in_own_context(_call, kind, job)
        result = results.to_result(returned)
    processes.end_forked_child(claim.pid)
    sessions.clean_up()
    return result


def _call(kind: Kind, job: Job) -> Any:
    if kind.takes_input:
        return kind.function(job, **job.input)
    return kind.function(job)


def _succeed(claim: Claim, job: Job, result: results.JobResult) -> Report:
    """Store the result and the status, and call the functions of `on_finish`, all or nothing."""
    operation, progress = claim.operation, claim.unsaved_progress
    if result.file is None and not job.callbacks:
        row = results.build_row(operation, result)
        is_stored = finishing.finish(
            operation,
            lambda: lifecycle.succeed(operation, result=row, unsaved=progress),
            Status.SUCCEEDED,
            in_transaction=not statements.are_possible(alias()),
        )
        return _report(Ending.SUCCEEDED, is_stored)

    is_in_callback = False

    def write() -> bool:
        nonlocal is_in_callback
        is_in_callback = False
        if not lifecycle.succeed(operation, unsaved=progress):
            return False
        results.store(operation, result)
        is_in_callback = True
        for callback in job.callbacks:
            callback()
        processes.end_forked_child(claim.pid)
        is_in_callback = False
        return True

    is_stored = finishing.finish(
        operation, write, Status.SUCCEEDED, is_in_callback=lambda: is_in_callback
    )
    return _report(Ending.SUCCEEDED, is_stored)


def _retry_or_fail(claim: Claim, kind: Kind, error: BaseException) -> Report:
    """Schedule another attempt if the kind wants one and the budget allows it, else fail."""
    operation, progress = claim.operation, claim.unsaved_progress
    delay = failures.retry_delay(operation, kind, error)
    if delay is not None:
        outcome = OperationAttempt.Outcome.RETRY
        return _run_again(
            claim, error, outcome, lambda: lifecycle.retry(operation, delay=delay, unsaved=progress)
        )
    failure = failures.explain(kind, error)
    failures.log(operation, failure)

    def write() -> bool:
        if not lifecycle.fail(operation, failure.problem, unsaved=progress):
            return False
        failures.record(operation, error, failure.outcome)
        return True

    report = _report(Ending.FAILED, finishing.finish(operation, write, Status.FAILED), error)
    return replace(report, is_refusal=failure.is_refusal)


def _end_from_outside(claim: Claim, error: BaseException) -> Report:
    """End an attempt whose job has stopped because it was interrupted."""
    if isinstance(error, ClaimLost):
        return Report(Ending.NOT_MINE)
    if isinstance(error, OperationCanceled):
        return _end_canceled(claim)
    operation, progress = claim.operation, claim.unsaved_progress
    failures.warn_of_releases(operation)
    outcome = OperationAttempt.Outcome.RELEASED
    return _run_again(claim, error, outcome, lambda: lifecycle.release(operation, unsaved=progress))


def _end_canceled(claim: Claim) -> Report:
    operation, progress = claim.operation, claim.unsaved_progress
    is_stored = finishing.finish(
        operation, lambda: lifecycle.end_canceled(operation, unsaved=progress), Status.CANCELED
    )
    return _report(Ending.CANCELED, is_stored)


def _run_again(
    claim: Claim,
    error: BaseException,
    outcome: OperationAttempt.Outcome,
    move: Callable[[], bool],
) -> Report:
    """`move` the operation back to pending. If it was canceled in the meantime, it ends instead."""

    def write() -> bool:
        if not move():
            return False
        failures.record(claim.operation, error, outcome)
        return True

    is_stored = finishing.finish(claim.operation, write, None)
    return Report(Ending.AGAIN) if is_stored else _end_canceled(claim)


def _report(ending: Ending, is_stored: bool, error: BaseException | None = None) -> Report:
    return Report(ending, error) if is_stored else Report(Ending.NOT_MINE)


def _log_refused_claim(pk: UUID, kind: Kind) -> None:
    with suppress(Error):
        rows = Operation.objects.filter(pk=pk).exclude(kind=kind.name)
        for other_kind in rows.values_list("kind", flat=True):
            logger.warning("Operation id=%s kind=%s not claimed for %s", pk, other_kind, kind.name)
    logger.info("Operation id=%s kind=%s not claimed: it is not due", pk, kind.name)
