"""One attempt: claim, run, finish."""

import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, TypeVar
from uuid import UUID

from django.db import Error, OperationalError, connections, transaction

from async_reply import failures, heartbeats, lifecycle, outages, results, signals, statements
from async_reply.exceptions import ClaimLost, OperationCanceled, RetryLater, WorkerStopping
from async_reply.jobs import Job
from async_reply.kinds import Kind, seconds
from async_reply.models import Operation, OperationAttempt, database
from async_reply.status import Status

logger = logging.getLogger("async_reply")

T = TypeVar("T")
Outcome = OperationAttempt.Outcome

#: What ends an attempt without an outcome of its own, when it comes from outside.
LEAVES = (ClaimLost, OperationCanceled, WorkerStopping)


class DatabaseAway(OperationalError):
    """The outcome could not be stored for a whole lease: the job is rescued and repeated."""


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
    operation = _patiently(pk, lambda: lifecycle.claim_unread(pk, worker=worker))
    if operation is None:
        logger.info("Operation id=%s kind=%s not claimed: it is not due", pk, kind.name)
        return Report(Ending.NOT_MINE)
    logger.info(
        "Operation id=%s kind=%s status=running attempt=%s", pk, kind.name, operation.attempt
    )
    signals.operation_started.send_robust(Operation, operation=operation)
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


def _attempt(operation: Operation, kind: Kind, job: Job, claim: heartbeats.Claim) -> Report:
    try:
        with claim.exposed():
            returned = _call(kind, job)
        return _succeed(claim, results.outcome(returned), job)
    except DatabaseAway:
        raise
    except BaseException as raised:  # noqa: BLE001 nothing a job does may take its worker down
        error = claim.meaning(raised)
        if claim.interruption is not None and isinstance(error, LEAVES):
            return _leave(claim, error)
        return _stop(claim, kind, error)


def _leave(claim: heartbeats.Claim, error: BaseException) -> Report:
    """End an attempt that was told to stop, and did."""
    if isinstance(error, ClaimLost):
        return Report(Ending.NOT_MINE)
    if isinstance(error, OperationCanceled):
        return _cancel(claim)
    stop = failures.Stop(error, Outcome.RELEASED, {})
    return _again(claim, stop, lambda: lifecycle.release(claim.operation))


def _cancel(claim: heartbeats.Claim) -> Report:
    operation, told = claim.operation, claim.told
    return _ended(operation, lambda: lifecycle.end_canceled(operation, told=told), Ending.CANCELED)


def _call(kind: Kind, job: Job) -> Any:
    if kind.takes_input:
        return kind.function(job, **_input(job))
    return kind.function(job)


def _input(job: Job) -> dict[str, Any]:
    """What the job is called with; a database that is away meanwhile is not the job's failure."""
    try:
        return _patiently(job.id, lambda: job.input)
    except Error as error:
        raise _away(job.id) from error


def _succeed(claim: heartbeats.Claim, outcome: results.Outcome, job: Job) -> Report:
    operation, told = claim.operation, claim.told
    if outcome.file is None and not job.finishers:
        result = results.row(operation, outcome)
        return _ended(
            operation,
            lambda: lifecycle.succeed(operation, result=result, told=told),
            Ending.SUCCEEDED,
            together=not statements.are_possible(database()),
        )

    in_callback = False

    def write() -> bool:
        nonlocal in_callback
        in_callback = False
        if not lifecycle.succeed(operation, told=told):
            return False
        results.store(operation, outcome)
        in_callback = True
        for function in job.finishers:
            function()
        in_callback = False
        return True

    return _ended(operation, write, Ending.SUCCEEDED, is_jobs=lambda: in_callback)


def _stop(claim: heartbeats.Claim, kind: Kind, error: BaseException) -> Report:
    """Schedule another attempt where the kind wants one and the budget allows, else fail."""
    operation, told = claim.operation, claim.told
    stop = failures.explain(kind, error)
    delay = _delay(operation, kind, error)
    if delay is not None:
        stop = replace(stop, outcome=Outcome.RETRY)
        return _again(claim, stop, lambda: lifecycle.retry(operation, delay=delay))
    _log_failure(operation, kind, stop)

    def write() -> bool:
        if not lifecycle.fail(operation, stop.problem, told=told):
            return False
        failures.record(operation, stop)
        return True

    report = _ended(operation, write, Ending.FAILED, cause=error)
    return replace(report, is_refusal=stop.is_refusal)


def _log_failure(operation: Operation, kind: Kind, stop: failures.Stop) -> None:
    """One line; with a traceback where the job did not choose to fail."""
    logger.log(
        logging.WARNING if stop.is_refusal else logging.ERROR,
        "Operation id=%s kind=%s status=failed code=%r",
        operation.pk,
        kind.name,
        stop.problem["code"],
        exc_info=None if stop.is_refusal else stop.error,
    )


def _delay(operation: Operation, kind: Kind, error: BaseException) -> float | None:
    """Seconds until another attempt; None where none is wanted, or the budget is spent."""
    if operation.retries >= operation.max_retries:
        return None
    try:
        if isinstance(error, RetryLater) and error.after is not None:
            return seconds(error.after, name="after")
        wanted = isinstance(error, RetryLater) or kind.retries_on(error)
        return kind.delay(operation.retries) if wanted else None
    except BaseException:
        # An exception is the job's own code.
        logger.exception("Operation id=%s kind=%s has no next attempt", operation.pk, kind.name)
        return None


def _again(claim: heartbeats.Claim, stop: failures.Stop, move: Callable[[], bool]) -> Report:
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
        with transaction.atomic(using=database()) if together else nullcontext():
            written = write()
            if written and ending is not Ending.AGAIN:
                signals.announce_finished(operation, Status(ending.value))
        return written or (tries > 1 and _stored(operation, ending))

    try:
        written = _patiently(operation.pk, commit)
    except Error as error:
        if connections[database()].in_atomic_block or outages.is_refusal(error):
            raise
        if not is_jobs():
            raise _away(operation.pk) from error
        if not outages.is_passing(error):
            raise
        written = _once_more(operation, commit, is_jobs)
    return Report(ending, cause) if written else Report(Ending.NOT_MINE)


def _patiently(pk: UUID, action: Callable[[], T]) -> T:
    """What `action` returns; while the database is away it is tried again, for about a lease.

    One try may hang for longer than that and says nothing of a database that is back: the last
    one begins afterwards.
    """
    give_up = time.monotonic() + lifecycle.lease()
    while True:
        is_last = time.monotonic() >= give_up
        try:
            return action()
        except Error as error:
            if connections[database()].in_atomic_block or is_last or not outages.is_passing(error):
                raise
            logger.warning("Operation id=%s database away, tried again", pk, exc_info=True)
            heartbeats.disconnect()
            time.sleep(heartbeats.TICK_AFTER_ERROR)


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
