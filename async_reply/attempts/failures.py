"""Explains a failed attempt: an error document for its client, a row and a log line for operators.

The runner also asks here whether the job is to be retried, and after how many seconds.
"""

import re
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.core.exceptions import NON_FIELD_ERRORS, PermissionDenied, ValidationError
from django.http import Http404

from async_reply import columns, conf
from async_reply.attempts.kinds import Kind, to_seconds
from async_reply.database import payloads
from async_reply.exceptions import (
    EventsTooLarge,
    NoAnswer,
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

INTERNAL_ERROR = "The operation failed because of an internal error."
VALUE_NOT_STORED = "A result or an event of the operation could not be stored."
STORAGE_FAILED = "A file of the operation could not be stored or read."
#: The text of `get_object_or_404`. It names a class, so no client is told.
DJANGO_NOT_FOUND = re.compile(r"No \w+ matches the given query\.")
MAX_TEXT_CHARACTERS = 4_000
MAX_TRACEBACK_CHARACTERS = 100_000
#: The size of the column.
MAX_MESSAGE_CHARACTERS = 1_000


@dataclass(frozen=True)
class Failure:
    """How an attempt failed: the outcome for its row, the problem document for the client.

    `is_refusal`: the job chose to fail, and the client is told the job's reason.
    """

    error: BaseException
    outcome: OperationAttempt.Outcome
    problem: dict[str, Any]
    is_refusal: bool = False


def explain(kind: Kind, error: BaseException, operation: Operation) -> Failure:
    """The failure that `error` means. Never raises."""
    try:
        return _explain(kind, error, operation)
    except BaseException:
        # The job may have defined the exception's class, and its methods may raise.
        logger.warning("%s cannot be explained", type(error).__qualname__, exc_info=True)
        return Failure(error, Outcome.FAILED, _problem("internal-error", INTERNAL_ERROR))


def _explain(kind: Kind, error: BaseException, operation: Operation) -> Failure:
    choice = _choice(error)
    if choice is not None:
        problem = _problem_of_choice(kind, choice)
        return Failure(error, Outcome.FAILED, problem, is_refusal=choice.is_refusal)
    # The pool raises a timeout at any place, so a storage may have wrapped it.
    cause = error.__cause__ if isinstance(error, StorageFailed) else error
    if isinstance(cause, (TimeLimitExceeded, *kind.timeouts)):
        return Failure(error, Outcome.TIMED_OUT, columns.timed_out(operation))
    if isinstance(error, PayloadError):
        # The text of PayloadTooLarge names a remedy and quotes nothing. Other texts may quote.
        text = error if isinstance(error, PayloadTooLarge) else VALUE_NOT_STORED
        code = "events-too-large" if isinstance(error, EventsTooLarge) else "invalid-result"
        return Failure(error, Outcome.FAILED, _problem(code, text))
    if isinstance(error, StorageFailed):
        return Failure(error, Outcome.FAILED, _problem("storage-failed", STORAGE_FAILED))
    return Failure(error, Outcome.FAILED, _problem("internal-error", INTERNAL_ERROR))


@dataclass(frozen=True)
class _Choice:
    """The text, code and members that a job chose for its client."""

    code: object
    detail: object
    status: int
    members: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_refusal(self) -> bool:
        """Whether the job refused the request. A 5xx is an accident that has a text."""
        return 400 <= self.status <= 499


def _choice(error: object) -> _Choice | None:
    """The choice in an exception of the job; None for an exception that is not for clients."""
    if isinstance(error, OperationFailed):
        members = dict(getattr(error, "members", {}))
        if getattr(error, "errors", None) is not None:
            members["errors"] = error.errors
        return _Choice(error.code, error.detail, error.status_code, members)
    if isinstance(error, NoAnswer):
        return _Choice("no-answer", "Nobody answered in time.", 409)
    if isinstance(error, Http404):
        return _Choice("not_found", _own_text(error) or "Not found.", 404)
    if isinstance(error, PermissionDenied):
        text = _own_text(error) or "You do not have permission to perform this action."
        return _Choice("permission_denied", text, 403)
    if isinstance(error, ValidationError):
        return _invalid(_field_errors(error), "invalid", 400)
    # Without an import of REST framework the job cannot have raised its exceptions.
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
    """Field errors. A single text is the detail too, for clients that do not read `errors`."""
    only_error = errors[0] if isinstance(errors, list) and len(errors) == 1 else None
    detail = only_error if isinstance(only_error, str) else problems.SEE_ERRORS
    return _Choice(getattr(only_error, "code", None) or code, detail, status, {"errors": errors})


def _field_errors(error: ValidationError) -> Any:
    """The errors in the shape of REST framework's serializers."""
    if not hasattr(error, "error_dict"):
        return error.messages
    key = getattr(settings, "REST_FRAMEWORK", {}).get("NON_FIELD_ERRORS_KEY", "non_field_errors")
    fields = error.message_dict.items()
    return {key if name == NON_FIELD_ERRORS else name: texts for name, texts in fields}


def _own_text(error: Exception) -> str:
    """The text that the job gave; '' without one, and for the text of `get_object_or_404`."""
    text = error.args[0] if len(error.args) == 1 else ""
    return text if isinstance(text, str) and not DJANGO_NOT_FOUND.fullmatch(text) else ""


def _problem_of_choice(kind: Kind, choice: _Choice) -> dict[str, Any]:
    """The problem document, with the job's members if the database can store them."""
    problem = _problem(choice.code, choice.detail, status=choice.status)
    try:
        members = payloads.to_clean_json(choice.members, limit=conf.get("MAX_RESULT"))
    except PayloadError:
        logger.exception("Errors and members of a failure of %s are not stored", kind.name)
        return problem
    return problem | {name: members[name] for name in members if name not in problem}


def _problem(code: object, detail: object, *, status: int = 409) -> dict[str, Any]:
    """A problem document that any database can store; lazy translations become texts.

    A status that would mean something else in the answer to a result becomes 409.
    """
    if not 400 <= status <= 499 or status in OperationFailed.RESERVED:
        status = 409
    text = payloads.clean(detail)[:MAX_TEXT_CHARACTERS]
    return problems.failure(payloads.clean(code)[:MAX_TEXT_CHARACTERS], text, status=int(status))


def retry_delay(operation: Operation, kind: Kind, error: BaseException) -> float | None:
    """Seconds until the next attempt; None for no retry, or when the budget is spent."""
    if operation.retries >= operation.max_retries or columns.is_spent(operation):
        return None
    try:
        if isinstance(error, RetryLater) and error.after is not None:
            return to_seconds(error.after, name="after")
        is_wanted = isinstance(error, RetryLater) or kind.retries_on(error)
        return kind.delay(operation.retries) if is_wanted else None
    except BaseException:
        # The job may have defined the exception's class, and its methods may raise.
        logger.exception("Operation id=%s kind=%s has no next attempt", operation.pk, kind.name)
        return None


def record(operation: Operation, error: BaseException, outcome: OperationAttempt.Outcome) -> None:
    """Insert the row that tells operators how an attempt without a result ended."""
    row = Operation.objects.only("started_at").get(pk=operation.pk)
    OperationAttempt.objects.create(
        operation_id=operation.pk,
        number=operation.attempt,
        worker=operation.worker,
        started_at=row.started_at,
        outcome=outcome,
        exception=f"{type(error).__module__}.{type(error).__qualname__}"[:255],
        message=_message(error),
        traceback=_traceback(error),
    )


def _message(error: BaseException) -> str:
    """The text of the exception; '' if it has none that can be read."""
    try:
        return payloads.clean(error)[:MAX_MESSAGE_CHARACTERS]
    except BaseException:  # noqa: BLE001 an exception is the job's own code
        return ""


def _traceback(error: BaseException) -> str:
    try:
        text = "".join(traceback.format_exception(error))
    except BaseException:  # noqa: BLE001 an exception is the job's own code
        text = "".join(traceback.format_tb(error.__traceback__))
    return payloads.clean(text)[-MAX_TRACEBACK_CHARACTERS:]
