"""One attempt: claim, run, finish."""

from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, TypeVar
from uuid import UUID

from django.db import Error, connections, transaction
from django.db.transaction import TransactionManagementError

from async_reply import lifecycle, signals
from async_reply.attempts import claims, failures, heartbeats, processes, results, surroundings
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.attempts.outages import patiently
from async_reply.attempts.sessions import Sessions
from async_reply.database import alias, errors, statements
from async_reply.exceptions import ClaimLost, DatabaseAway, OperationCanceled, WorkerStopping
from async_reply.logs import logger
from async_reply.models import Operation, OperationAttempt
from async_reply.status import Status

T = TypeVar("T")
Outcome = OperationAttempt.Outcome

#: What ends an attempt without an outcome of its own, when it comes from outside.
LEAVES = (ClaimLost, OperationCanceled, WorkerStopping)


class Ending(Enum):
    """How an attempt ended, for whoever called it."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    AGAIN = "again"
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
    """Run the operation if it is pending and due; whatever the job raises is in the report.

    `worker` names the process, `inline` beats at the job's own calls, without a thread.
    """
    operation = patiently(pk, lambda: lifecycle.claim_unread(pk, worker=worker, kind=kind.name))
    if operation is None:
        _explain_refusal(pk, kind)
        return Report(Ending.NOT_MINE)
    interrupt = kind.cancel == "interrupt"
    with heartbeats.hold(operation, inline=inline, interrupt=interrupt) as claim:
        job = Job(operation, claim)
        try:
            report = _attempt(operation, kind, job, claim)
        finally:
            job.close()
    if report.ending is not Ending.FAILED:  # which has been said, and why
        logger.info("Operation id=%s kind=%s status=%s", pk, kind.name, report.ending.value)
    return report


def _explain_refusal(pk: UUID, kind: Kind) -> None:
    with suppress(Error):
        others = Operation.objects.filter(pk=pk).exclude(kind=kind.name)
        for found in others.values_list("kind", flat=True):
            logger.warning("Operation id=%s kind=%s not claimed for %s", pk, found, kind.name)
    logger.info("Operation id=%s kind=%s not claimed: it is not due", pk, kind.name)


def _attempt(operation: Operation, kind: Kind, job: Job, claim: claims.Claim) -> Report:
    sessions = Sessions(inline=claim.inline)
    try:
        outcome = _outcome(kind, job, claim, sessions)
        return _succeed(claim, outcome, job)
    except BaseException as raised:
        processes.end_child(claim.pid, raised)
        sessions.settle(raised)
        error = claim.meaning(raised)
        if claim.interruption is not None and isinstance(error, LEAVES):
            return _leave(claim, error)
        if claim.is_lost or isinstance(error, DatabaseAway):
            raise
        return _stop(claim, kind, error)


def _outcome(kind: Kind, job: Job, claim: claims.Claim, sessions: Sessions) -> results.Outcome:
    """What the job returned, once nothing of it is left in process and sessions."""
    operation = claim.operation
    with surroundings.kept(), sessions.watched():
        logger.info(
            "Operation id=%s kind=%s status=running attempt=%s",
            operation.pk,
            kind.name,
            operation.attempt,
        )
        signals.send(signals.operation_started, operation)
        with claim.exposed():
            returned = surroundings.isolated(_call, kind, job)
        outcome = results.outcome(returned)
    processes.end_child(claim.pid)
    sessions.settle()
    return outcome


def _leave(claim: claims.Claim, error: BaseException) -> Report:
    """End an attempt that was told to stop, and did."""
    if isinstance(error, ClaimLost):
        return Report(Ending.NOT_MINE)
    if isinstance(error, OperationCanceled):
        return _cancel(claim)
    operation, told = claim.operation, claim.told
    stop = failures.Stop(error, Outcome.RELEASED, {})
    failures.warn_of_releases(operation)
    return _again(claim, stop, lambda: lifecycle.release(operation, unsaved=told))


def _cancel(claim: claims.Claim) -> Report:
    operation, told = claim.operation, claim.told
    return _ended(
        operation, lambda: lifecycle.end_canceled(operation, unsaved=told), Ending.CANCELED
    )


def _call(kind: Kind, job: Job) -> Any:
    if kind.takes_input:
        return kind.function(job, **job.input)
    return kind.function(job)


def _succeed(claim: claims.Claim, outcome: results.Outcome, job: Job) -> Report:
    operation, told = claim.operation, claim.told
    if outcome.file is None and not job.finishers:
        result = results.row(operation, outcome)
        return _ended(
            operation,
            lambda: lifecycle.succeed(operation, result=result, unsaved=told),
            Ending.SUCCEEDED,
            together=not statements.are_possible(alias()),
        )

    in_callback = False

    def write() -> bool:
        nonlocal in_callback
        in_callback = False
        if not lifecycle.succeed(operation, unsaved=told):
            return False
        results.store(operation, outcome)
        in_callback = True
        for function in job.finishers:
            function()
        processes.end_child(claim.pid)
        in_callback = False
        return True

    return _ended(operation, write, Ending.SUCCEEDED, is_jobs=lambda: in_callback)


def _stop(claim: claims.Claim, kind: Kind, error: BaseException) -> Report:
    """Schedule another attempt where the kind wants one and the budget allows, else fail."""
    operation, told = claim.operation, claim.told
    stop = failures.explain(kind, error)
    delay = failures.delay(operation, kind, error)
    if delay is not None:
        stop = replace(stop, outcome=Outcome.RETRY)
        return _again(claim, stop, lambda: lifecycle.retry(operation, delay=delay, unsaved=told))
    failures.log(operation, stop)

    def write() -> bool:
        if not lifecycle.fail(operation, stop.problem, unsaved=told):
            return False
        failures.record(operation, stop)
        return True

    report = _ended(operation, write, Ending.FAILED, cause=error)
    return replace(report, is_refusal=stop.is_refusal)


def _again(claim: claims.Claim, stop: failures.Stop, move: Callable[[], bool]) -> Report:
    """Give the operation back to be run anew; while canceling that is refused, and it ends."""

    def write() -> bool:
        if not move():
            return False
        failures.record(claim.operation, stop)
        return True

    report = _ended(claim.operation, write, Ending.AGAIN)
    return _cancel(claim) if report.ending is Ending.NOT_MINE else report


def _ended(
    operation: Operation,
    write: Callable[[], bool],
    ending: Ending,
    *,
    cause: BaseException | None = None,
    together: bool = True,
    is_jobs: Callable[[], bool] = lambda: False,
) -> Report:
    """Commit `write` and say how the attempt ended; NOT_MINE when it had lost its claim.

    `together`: what it writes takes a transaction to be one. (One statement does not.)
    `is_jobs`: whether the code of the job was writing when `write` raised.
    While the database is away it is tried again until the lease is surely over, then
    DatabaseAway is raised. After an error the answer to COMMIT may be what was lost: then the
    row tells.
    """
    tries = 0

    def commit() -> bool:
        nonlocal tries
        tries += 1
        depth = len(connections[alias()].atomic_blocks)
        with transaction.atomic(using=alias()) if together else nullcontext():
            written = write()
            if written and ending is not Ending.AGAIN:
                signals.announce_finished(operation, Status(ending.value))
        if len(connections[alias()].atomic_blocks) != depth:
            raise TransactionManagementError("What on_finish called left a transaction open.")
        return written or (tries > 1 and _stored(operation, ending))

    try:
        written = patiently(operation.pk, commit)
    except Error as error:
        if connections[alias()].in_atomic_block or errors.is_refusal(error):
            raise
        if not is_jobs():
            raise _away(operation.pk) from error
        if not errors.is_temporary(error):
            raise
        written = _once_more(operation, commit, is_jobs)
    return Report(ending, cause) if written else Report(Ending.NOT_MINE)


def _once_more(operation: Operation, commit: Callable[[], T], is_jobs: Callable[[], bool]) -> T:
    """A last try, now that the database is there: what the job's code raises is its own."""
    try:
        lifecycle.beat(operation)
    except Error as error:
        raise _away(operation.pk) from error
    try:
        return commit()
    except Error as error:
        if is_jobs():
            raise
        raise _away(operation.pk) from error


def _away(pk: UUID) -> DatabaseAway:
    return DatabaseAway(f"Operation {pk} is left to the rescue.")


def _stored(operation: Operation, ending: Ending) -> bool:
    if ending is Ending.SUCCEEDED:
        return results.stored(operation)
    row = Operation.objects.only("status", "attempt").get(pk=operation.pk)
    return bool(row.attempt == operation.attempt and row.status == ending.value)
