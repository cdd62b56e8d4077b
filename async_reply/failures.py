"""Attempts that end other than well: what the client is told, and what the operator."""

import logging
import sys
import traceback
from dataclasses import dataclass
from typing import Any

from async_reply import payloads, problems
from async_reply.exceptions import (
    OperationFailed,
    PayloadError,
    StorageFailed,
    TimeLimitExceeded,
)
from async_reply.kinds import Kind
from async_reply.models import Operation, OperationAttempt

logger = logging.getLogger("async_reply")

Outcome = OperationAttempt.Outcome

GENERIC = "The operation failed because of an internal error."
LONGEST_TEXT = 4_000
LONGEST_TRACEBACK = 100_000


@dataclass(frozen=True)
class Stop:
    """Why an attempt ended other than well: a row for the operator, a text for the client."""

    error: BaseException
    outcome: OperationAttempt.Outcome
    problem: dict[str, Any]


def explain(kind: Kind, error: BaseException) -> Stop:
    """What client and operator are told of `error`, whatever it is."""
    try:
        return _explain(kind, error)
    except BaseException:
        # An exception is the job's own code.
        logger.warning("%s cannot be explained", type(error).__qualname__, exc_info=True)
        return Stop(error, Outcome.FAILED, _problem("internal-error", GENERIC))


def _explain(kind: Kind, error: BaseException) -> Stop:
    if isinstance(error, OperationFailed):
        problem = _problem(error.code, error.detail, status=error.status_code)
        return Stop(error, Outcome.FAILED, problem)
    # The pool raises it wherever the job is, in the middle of a storage as well.
    cause = error.__cause__ if isinstance(error, StorageFailed) else error
    if isinstance(cause, (TimeLimitExceeded, *kind.timeouts)):
        problem = _problem("timed-out", "The operation exceeded its time limit.")
        return Stop(error, Outcome.TIMED_OUT, problem)
    if isinstance(error, PayloadError):
        return Stop(error, Outcome.FAILED, _problem("invalid-result", error))
    if isinstance(error, StorageFailed):
        return Stop(error, Outcome.FAILED, _problem("storage-failed", error))
    framework = sys.modules.get("rest_framework.exceptions")
    if framework is not None and isinstance(error, framework.APIException):
        return Stop(error, Outcome.FAILED, _explain_api_exception(error))
    return Stop(error, Outcome.FAILED, _problem("internal-error", GENERIC))


def _problem(code: object, detail: object, *, status: int = 409) -> dict[str, Any]:
    """What a job chose to say, lazy translations and all, as any database stores it.

    A status that means something else in the answer to a result becomes 409.
    """
    if not 400 <= status <= 499 or status in OperationFailed.RESERVED:
        status = 409
    text = payloads.clean(detail)[:LONGEST_TEXT]
    return problems.failure(payloads.clean(code)[:LONGEST_TEXT], text, status=int(status))


def _explain_api_exception(error: Any) -> dict[str, Any]:
    """The text and status of a REST framework exception."""
    detail = error.detail if isinstance(error.detail, str) else error.default_detail
    code = getattr(error.detail, "code", None) or error.default_code
    return _problem(code, detail, status=int(error.status_code))


def record(operation: Operation, stop: Stop) -> None:
    """Keep what the operator wants to read about an attempt that did not end well."""
    row = Operation.objects.only("started_at").get(pk=operation.pk)
    OperationAttempt.objects.create(
        operation_id=operation.pk,
        number=operation.attempt,
        worker=operation.worker,
        started_at=row.started_at,
        outcome=stop.outcome,
        exception=f"{type(stop.error).__module__}.{type(stop.error).__qualname__}"[:255],
        traceback=_traceback(stop.error),
    )


def _traceback(error: BaseException) -> str:
    try:
        text = "".join(traceback.format_exception(error))
    except BaseException:  # noqa: BLE001 an exception is the job's own code
        text = "".join(traceback.format_tb(error.__traceback__))
    return payloads.clean(text)[-LONGEST_TRACEBACK:]
