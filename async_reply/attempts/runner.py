"""Runs one attempt at an operation, for its Celery task: claims it, runs the job, finishes it.

`run` is the whole story. An attempt ends in one of three ways: its result is stored, its error is
stored or leads to a retry, or somebody ended it from outside.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID

from django.db import Error

from async_reply import lifecycle, logs, signals, traces
from async_reply.attempts import (
    causes,
    emitting,
    failures,
    finishing,
    heartbeats,
    outages,
    pauses,
    processes,
    project_context,
    reports,
    results,
    surroundings,
)
from async_reply.attempts.claims import Claim
from async_reply.attempts.compensation import Compensation
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.attempts.reports import Ending, Report
from async_reply.attempts.sessions import Sessions
from async_reply.database import alias, statements
from async_reply.exceptions import (
    AttemptGivenBack,
    ClaimLost,
    DatabaseAway,
    JobPaused,
    OperationCanceled,
    TimeLimitExceeded,
    WorkerStopping,
)
from async_reply.logs import logger
from async_reply.models import Operation, OperationAttempt, OperationStep
from async_reply.status import Status

#: Interruptions that end an attempt without an outcome of its own.
FROM_OUTSIDE = (AttemptGivenBack, ClaimLost, OperationCanceled, WorkerStopping)


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
    started = time.monotonic()
    interrupt = kind.cancel == "interrupt"
    with (
        traces.tracer.attempt(operation) as trace_end,
        heartbeats.kept_alive(operation, inline=inline, interrupt=interrupt) as claim,
    ):
        job = Job(operation, claim, timeouts=kind.timeouts, asks=kind.asks)
        try:
            report = _attempt(kind, job, claim)
        finally:
            job.close()
        trace_end(report)
    reports.log(operation, report, duration=time.monotonic() - started)
    return report


def _attempt(kind: Kind, job: Job, claim: Claim) -> Report:
    sessions = Sessions(inline=claim.inline)
    try:
        result = _run_job(kind, job, claim, sessions)
        claim.end_events()
        return _succeed(claim, job, result)
    except BaseException as raised:
        processes.end_forked_child(claim.pid, raised)
        sessions.clean_up(raised)
        error = _end_events(claim, causes.find_cause(claim, raised))
        undo = Compensation(claim.operation, kind, job)
        if claim.interruption is not None and isinstance(error, FROM_OUTSIDE):
            return _end_from_outside(claim, undo, error)
        if claim.is_lost or isinstance(error, DatabaseAway):
            raise
        if isinstance(error, JobPaused):
            return _pause(claim, undo, error)
        return _retry_or_fail(claim, kind, undo, error)


def _end_events(claim: Claim, error: BaseException) -> BaseException:
    """Write the last events of a job that ends by `error`; returns the error that counts then."""
    if claim.is_lost or isinstance(error, ClaimLost | DatabaseAway):
        return error
    try:
        claim.end_events()
    except ClaimLost as lost:
        return lost
    return error


def _run_job(kind: Kind, job: Job, claim: Claim, sessions: Sessions) -> results.JobResult:
    """Call the job's function, then undo what it left in the process and in its sessions."""
    operation = claim.operation
    with surroundings.preserved(), sessions.watched():
        logger.event("claimed", operation, attempt=operation.attempt, worker=operation.worker)
        signals.send(signals.operation_started, operation)
        if time.monotonic() >= claim.deadline:
            # The time of all its attempts together was over before this one.
            raise TimeLimitExceeded
        with claim.interrupts_allowed():
            returned = surroundings.call_in_own_context(_call, kind, job, claim)
        job.end()
        result = results.to_result(returned)
    processes.end_forked_child(claim.pid)
    sessions.clean_up()
    return result


def _call(kind: Kind, job: Job, claim: Claim) -> Any:
    logs.sink.set(partial(emitting.take_line, claim, is_private=not kind.public_logs))
    with project_context.around(job):
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
        if job.callbacks:
            with project_context.around(job):
                for callback in job.callbacks:
                    callback()
        processes.end_forked_child(claim.pid)
        is_in_callback = False
        return True

    is_stored = finishing.finish(
        operation, write, Status.SUCCEEDED, is_in_callback=lambda: is_in_callback
    )
    return _report(Ending.SUCCEEDED, is_stored)


def _retry_or_fail(claim: Claim, kind: Kind, undo: Compensation, error: BaseException) -> Report:
    """Schedule another attempt if the kind wants one and the budget allows it, else fail."""
    operation, progress = claim.operation, claim.unsaved_progress
    delay = failures.retry_delay(operation, kind, error)
    if delay is not None:
        outcome = OperationAttempt.Outcome.RETRY
        return _run_again(
            claim,
            undo,
            error,
            outcome,
            lambda: lifecycle.retry(operation, delay=delay, unsaved=progress),
            delay=delay,
        )
    failure = failures.explain(kind, error, operation)

    def write() -> bool:
        if not lifecycle.fail(operation, failure.problem, unsaved=progress):
            return False
        failures.record(operation, error, failure.outcome)
        return True

    if not _finish(claim, undo, write, Status.FAILED):
        return Report(Ending.NOT_MINE, error)
    code = str(failure.problem["code"])
    return Report(Ending.FAILED, error, is_refusal=failure.is_refusal, code=code)


def _end_from_outside(claim: Claim, undo: Compensation, error: BaseException) -> Report:
    """End an attempt whose job has stopped because it was interrupted."""
    if isinstance(error, ClaimLost):
        return Report(Ending.NOT_MINE)
    if isinstance(error, OperationCanceled):
        return _end_canceled(claim, undo)
    operation, progress = claim.operation, claim.unsaved_progress
    outcome = OperationAttempt.Outcome.RELEASED
    return _run_again(
        claim, undo, error, outcome, lambda: lifecycle.release(operation, unsaved=progress)
    )


def _end_canceled(claim: Claim, undo: Compensation) -> Report:
    operation, progress = claim.operation, claim.unsaved_progress
    is_stored = _finish(
        claim,
        undo,
        lambda: lifecycle.end_canceled(operation, unsaved=progress),
        Status.CANCELED,
    )
    return _report(Ending.CANCELED, is_stored)


def _finish(claim: Claim, undo: Compensation, write: Callable[[], bool], status: Status) -> bool:
    """Commit `write` and the functions of `undo`, all or nothing; without them if one raises."""

    def write_and_undo() -> bool:
        if not write():
            return False
        undo.call(status)
        processes.end_forked_child(claim.pid)
        return True

    def is_in_callback() -> bool:
        return undo.is_running

    try:
        return finishing.finish(
            claim.operation, write_and_undo, status, is_in_callback=is_in_callback
        )
    except BaseException as raised:
        processes.end_forked_child(claim.pid, raised)
        if not undo.caused(raised):
            raise
        undo.give_up(raised)
        return finishing.finish(claim.operation, write, status)


def _run_again(
    claim: Claim,
    undo: Compensation,
    error: BaseException,
    outcome: OperationAttempt.Outcome,
    move: Callable[[], bool],
    *,
    delay: float | None = None,
) -> Report:
    """`move` the operation back to pending. If it was canceled in the meantime, it ends instead."""

    def write() -> bool:
        if not move():
            return False
        failures.record(claim.operation, error, outcome)
        return True

    is_stored = finishing.finish(claim.operation, write, None)
    return Report(Ending.AGAIN, error, delay=delay) if is_stored else _end_canceled(claim, undo)


def _pause(claim: Claim, undo: Compensation, pause: JobPaused) -> Report:
    """Make the operation pending until its job goes on. It leaves no row of an attempt."""
    operation = claim.operation
    progress = claim.unsaved_progress if pause.is_rest else claim.unsaved_further
    is_stored = finishing.finish(
        operation, lambda: pauses.store(operation, pause, unsaved=progress), None
    )
    if not is_stored:
        return _end_canceled(claim, undo)
    if pause.row.sort == OperationStep.Sort.QUESTION and not pause.is_rest:
        with suppress(Error):
            asked = Operation.objects.get(pk=operation.pk)
            signals.send(signals.operation_asked, asked, name=pause.row.name)
    return Report(Ending.PAUSED)


def _report(ending: Ending, is_stored: bool) -> Report:
    return Report(ending if is_stored else Ending.NOT_MINE)


def _log_refused_claim(pk: UUID, kind: Kind) -> None:
    with suppress(Error):
        rows = Operation.objects.filter(pk=pk).exclude(kind=kind.name)
        for other_kind in rows.values_list("kind", flat=True):
            logger.warning("Operation id=%s kind=%s not claimed for %s", pk, other_kind, kind.name)
    row = {"id": pk, "kind": kind.name}
    logger.event("not_claimed", row, reason="it is not due, has finished, or another worker has it")
