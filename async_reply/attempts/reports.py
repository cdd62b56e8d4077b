"""Says how an attempt ended: to the caller of the runner, and in one line of the log."""

import logging
from dataclasses import dataclass
from enum import Enum
from typing import Any

from async_reply.logs import logger
from async_reply.models import Operation
from async_reply.status import Status

#: So many releases in a row without a new step or item are told.
MANY_RELEASES = 3


class Ending(Enum):
    """How an attempt ended, for the caller of `run`."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    #: The operation is pending again: a retry, or a worker that stops.
    AGAIN = "again"
    #: The operation is pending until its job goes on after a sleep or an answer.
    PAUSED = "paused"
    #: The operation was not due, or another attempt holds it.
    NOT_MINE = "not mine"
    #: The worker is lost, and its lease is not over yet. Only tests are told.
    LOST = "lost"


@dataclass(frozen=True)
class Report:
    """An attempt's ending, and the exception of a failed one or of one that runs again.

    `is_refusal`: the job chose to fail, by an exception whose text the client is told.
    `code` is that of the problem document. `delay`: seconds until the retry, None for no retry.
    """

    ending: Ending
    error: BaseException | None = None
    is_refusal: bool = False
    code: str = ""
    delay: float | None = None

    @property
    def is_defect(self) -> bool:
        """Whether the job failed by an error that it did not choose."""
        return self.ending is Ending.FAILED and not self.is_refusal

    @property
    def event(self) -> str:
        """The word for this ending in the log and in traces."""
        if self.ending is Ending.AGAIN:
            return "released" if self.delay is None else "retried"
        if self.ending in (Ending.LOST, Ending.PAUSED):
            return str(self.ending.value)
        return "claim_lost" if self.ending is Ending.NOT_MINE else "finished"

    @property
    def status(self) -> Status | None:
        """The operation's status afterwards; None where another attempt decides."""
        if self.ending in (Ending.NOT_MINE, Ending.LOST):
            return None
        is_pending = self.ending in (Ending.AGAIN, Ending.PAUSED)
        return Status.PENDING if is_pending else Status(self.ending.value)


def reason(error: BaseException) -> str:
    """The name of the exception's class, and its text."""
    name = type(error).__qualname__
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 the job may have defined the exception's class
        return name
    return f"{name}: {text}" if text else name


def of_release(operation: Operation) -> tuple[int, str]:
    """The level of the line about a release, and what to do about too many of them."""
    if operation.idle_releases + 1 != MANY_RELEASES:
        return logging.INFO, ""
    return logging.WARNING, (
        f" {MANY_RELEASES} times without getting further: its workers stop before it has done "
        "anything that is kept. Divide its work into shorter steps"
    )


def log(operation: Operation, report: Report, *, duration: float) -> None:
    """Log one line. A failure that the job did not choose is an error with its traceback.

    An operation that is released again and again without getting further is one warning, since
    releases have no budget.
    """
    error = report.error
    fields: dict[str, Any] = {
        "attempt": operation.attempt,
        "duration": duration,
        "delay": report.delay,
        "code": report.code or None,
        "reason": None if error is None else reason(error),
    }
    level, remedy = logging.ERROR if report.is_defect else logging.INFO, ""
    if report.event == "released":
        level, remedy = of_release(operation)
    logger.event(
        report.event,
        operation,
        level=level,
        error=error if report.is_defect else None,
        remedy=remedy,
        status=report.status,
        **{name: value for name, value in fields.items() if value is not None},
    )


def log_end(operation: Operation, status: Status, *, code: str = "", **fields: Any) -> None:
    """Log that an operation finished of which no process can tell. There is no traceback."""
    level = logging.ERROR if status is Status.FAILED else logging.INFO
    fields = {"code": code} | fields if code else fields
    logger.event("finished", operation, level=level, status=status, **fields)
