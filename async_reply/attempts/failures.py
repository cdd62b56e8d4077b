"""Attempts that end other than well: what the client is told, and what the operator."""

import logging
import re
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.core.exceptions import NON_FIELD_ERRORS, PermissionDenied, ValidationError
from django.http import Http404

from async_reply import conf
from async_reply.attempts.kinds import Kind, seconds
from async_reply.database import payloads
from async_reply.exceptions import (
    OperationFailed,
    PayloadError,
    PayloadTooLarge,
    RetryLater,
    StorageFailed,
    TimeLimitExceeded,
)
from async_reply.logs import logger
from async_reply.models import Operation, OperationAttempt
from async_reply.protocol import problems

Outcome = OperationAttempt.Outcome

GENERIC = "The operation failed because of an internal error."
UNSTORED = "The operation's result could not be stored."
STORAGE = "A file of the operation could not be stored or read."
#: What Django's shortcuts say of a query that found nothing.
OF_A_CLASS = re.compile(r"No \w+ matches the given query\.")
LONGEST_TEXT = 4_000
LONGEST_TRACEBACK = 100_000
#: Releases of one operation from which on each is a warning to the operator.
MANY_RELEASES = 3


@dataclass(frozen=True)
class Stop:
    """Why an attempt ended other than well: a row for the operator, a text for the client.

    `is_refusal`: the job chose to fail, and its client is told why.
    """

    error: BaseException
    outcome: OperationAttempt.Outcome
    problem: dict[str, Any]
    is_refusal: bool = False


def explain(kind: Kind, error: BaseException) -> Stop:
    """What client and operator are told of `error`, whatever it is."""
    try:
        return _explain(kind, error)
    except BaseException:
        # An exception is the job's own code.
        logger.warning("%s cannot be explained", type(error).__qualname__, exc_info=True)
        return Stop(error, Outcome.FAILED, _problem("internal-error", GENERIC))


def _explain(kind: Kind, error: BaseException) -> Stop:
    choice = _choice(error)
    if choice is not None:
        return Stop(error, Outcome.FAILED, _told(kind, choice), is_refusal=choice.is_refusal)
    # The pool raises it wherever the job is, in the middle of a storage as well.
    cause = error.__cause__ if isinstance(error, StorageFailed) else error
    if isinstance(cause, (TimeLimitExceeded, *kind.timeouts)):
        problem = _problem("timed-out", "The operation exceeded its time limit.")
        return Stop(error, Outcome.TIMED_OUT, problem)
    if isinstance(error, PayloadError):
        # Of these errors this one alone quotes nothing, and names a remedy.
        text = error if isinstance(error, PayloadTooLarge) else UNSTORED
        return Stop(error, Outcome.FAILED, _problem("invalid-result", text))
    if isinstance(error, StorageFailed):
        return Stop(error, Outcome.FAILED, _problem("storage-failed", STORAGE))
    return Stop(error, Outcome.FAILED, _problem("internal-error", GENERIC))


@dataclass(frozen=True)
class _Choice:
    """What a job chose to say."""

    code: object
    detail: object
    status: int
    members: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_refusal(self) -> bool:
        """Whether it blames the client; a 5xx is an accident that is put into words."""
        return 400 <= self.status <= 499


def _choice(error: object) -> _Choice | None:
    """What an exception of the job's tells its client; None for one that tells nothing."""
    if isinstance(error, OperationFailed):
        members = dict(getattr(error, "members", {}))
        if getattr(error, "errors", None) is not None:
            members["errors"] = error.errors
        return _Choice(error.code, error.detail, error.status_code, members)
    if isinstance(error, Http404):
        return _Choice("not_found", _own_text(error) or "Not found.", 404)
    if isinstance(error, PermissionDenied):
        text = _own_text(error) or "You do not have permission to perform this action."
        return _Choice("permission_denied", text, 403)
    if isinstance(error, ValidationError):
        return _invalid(_field_errors(error), "invalid", 400)
    framework = sys.modules.get("rest_framework.exceptions")
    if framework is not None and isinstance(error, framework.APIException):
        return _choice_of_api_exception(error, framework)
    return None


def _choice_of_api_exception(error: Any, framework: Any) -> _Choice:
    code = getattr(error.detail, "code", None) or error.default_code
    if isinstance(error, framework.ValidationError):
        return _invalid(error.detail, code, error.status_code)
    detail, members = problems.split(error.detail, taken=OperationFailed.TAKEN - {"code", "errors"})
    if isinstance(members.get("code"), str):
        code = members["code"]
    return _Choice(code, detail or error.default_detail, error.status_code, members)


def _invalid(errors: Any, code: object, status: int) -> _Choice:
    """Field errors; a single text is also what clients read that know no fields."""
    alone = errors[0] if isinstance(errors, list) and len(errors) == 1 else None
    detail = alone if isinstance(alone, str) else problems.SEE_ERRORS
    return _Choice(getattr(alone, "code", None) or code, detail, status, {"errors": errors})


def _field_errors(error: ValidationError) -> Any:
    """As a serializer of REST framework's has them."""
    if not hasattr(error, "error_dict"):
        return error.messages
    own = getattr(settings, "REST_FRAMEWORK", {}).get("NON_FIELD_ERRORS_KEY", "non_field_errors")
    found = error.message_dict.items()
    return {own if name == NON_FIELD_ERRORS else name: texts for name, texts in found}


def _own_text(error: Exception) -> str:
    """The one text it was given; not what `get_object_or_404` says, which names a class."""
    text = error.args[0] if len(error.args) == 1 else ""
    return text if isinstance(text, str) and not OF_A_CLASS.fullmatch(text) else ""


def _told(kind: Kind, choice: _Choice) -> dict[str, Any]:
    """The problem with the members that the job chose, as far as a row can hold them."""
    problem = _problem(choice.code, choice.detail, status=choice.status)
    try:
        members = payloads.to_clean_json(choice.members, limit=conf.get("MAX_RESULT"))
    except PayloadError:
        logger.exception("Errors and members of a failure of %s are not told", kind.name)
        return problem
    return problem | {name: members[name] for name in members if name not in problem}


def _problem(code: object, detail: object, *, status: int = 409) -> dict[str, Any]:
    """What a job chose to say, lazy translations and all, as any database stores it.

    A status that means something else in the answer to a result becomes 409.
    """
    if not 400 <= status <= 499 or status in OperationFailed.RESERVED:
        status = 409
    text = payloads.clean(detail)[:LONGEST_TEXT]
    return problems.failure(payloads.clean(code)[:LONGEST_TEXT], text, status=int(status))


def log(operation: Operation, stop: Stop) -> None:
    """One line; with a traceback where the job did not choose to fail."""
    logger.log(
        logging.WARNING if stop.is_refusal else logging.ERROR,
        "Operation id=%s kind=%s status=failed code=%r",
        operation.pk,
        operation.kind,
        stop.problem["code"],
        exc_info=None if stop.is_refusal else stop.error,
    )


def delay(operation: Operation, kind: Kind, error: BaseException) -> float | None:
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


def warn_of_releases(operation: Operation) -> None:
    """Tell the operator of an operation that is released again and again: it costs no budget."""
    releases = operation.attempt - operation.retries - operation.losses
    if releases >= MANY_RELEASES:
        logger.warning(
            "Operation id=%s kind=%s released %d times: its workers stop before it can end",
            operation.pk,
            operation.kind,
            releases,
        )


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
