"""Finds out why a pool ends a process in the middle of a job: for a reason, or as a loss."""

import time
from contextlib import suppress

from django.db import Error

from async_reply import lifecycle
from async_reply.attempts import interrupts
from async_reply.attempts.claims import Claim, beat
from async_reply.logs import logger

#: Seconds within which a worker says why it ends one of its processes: a stop, or a cancel.
REASON_SECONDS = 2.0


def find_cause(claim: Claim, error: BaseException) -> BaseException:
    """The interruption behind `error` when a pool ends this process, else `error` itself.

    A pool ends a process when its worker stops, when the job is past Celery's time limit, and
    when an operator terminates the task. Without one of these reasons the attempt is lost.
    """
    if not interrupts.ends_process(error):
        return error
    if claim.inline:
        # The process belongs to the caller, and no pool ends it: the job raised the error.
        return error if claim.interruption is None else claim.interruption()
    _wait_for_reason(claim)
    if claim.interruption is not None:
        return claim.interruption()
    claim.is_lost = True
    operation, text = claim.operation, "Operation id=%s kind=%s lost with its process"
    logger.warning(text, operation.pk, operation.kind)
    with suppress(Error):
        lifecycle.expire_lease(operation.pk, worker=operation.worker, timed_out=False)
    return error


def _wait_for_reason(claim: Claim) -> None:
    """Wait for an interruption, REASON_SECONDS at most.

    A job with `max_losses=0` is not interrupted by a worker that stops, so a stop ends the wait as
    well.
    """
    give_up = time.monotonic() + REASON_SECONDS
    while True:
        claim.check_clock()
        if claim.interruption is None:
            with suppress(Error):
                beat([claim])
        if claim.interruption is not None or interrupts.stopping.is_set():
            break
        if time.monotonic() >= give_up:
            break
        time.sleep(0.05)
    claim.check_clock()
