"""The exceptions of async_reply. Each docstring says what to do about it."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder


class AsyncReplyError(Exception):
    """The base class of errors that callers may catch."""


class OperationFailed(AsyncReplyError):
    """Raised by a job to fail with a text for its client.

    `detail` is the text, `code` a short word for programs, `status_code` the 4xx of the result
    URL. RESERVED ones are refused: they make clients retry, log in or forget the operation.
    `errors` are field errors in the shape of REST framework's serializers; a list or dict as
    `detail` counts as `errors`. `members` are further members of the problem document, by name.
    Both are JSON values.
    """

    RESERVED = frozenset({401, 404, 405, 406, 408, 410, 425, 429})
    #: Members of the problem document that `members` cannot have.
    TAKEN = frozenset({"code", "message", "type", "title", "status", "detail", "errors"})

    def __init__(
        self,
        detail: object,
        *,
        code: str = "operation-failed",
        status_code: int = 409,
        errors: Any = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        if isinstance(detail, list | tuple | Mapping):
            if errors is not None:
                raise TypeError("OperationFailed takes a text as detail where errors=… is given.")
            detail, errors = "The operation failed: see errors.", detail
        super().__init__(detail)
        self._check(status_code, errors, members)
        self.detail = detail
        self.code = code
        self.status_code = status_code
        self.errors = errors
        self.members = dict(members or {})

    @classmethod
    def _check(cls, status_code: int, errors: Any, members: Mapping[str, Any] | None) -> None:
        """Raise ValueError for a refused status or name, TypeError for a value that is not JSON."""
        if not 400 <= status_code <= 499 or status_code in cls.RESERVED:
            raise ValueError(
                f"status_code={status_code} cannot report a failed operation: choose a 4xx "
                f"other than {', '.join(map(str, sorted(cls.RESERVED)))}."
            )
        if members is not None and not isinstance(members, Mapping):
            raise TypeError("members takes a dict of names and JSON values.")
        taken = sorted(cls.TAKEN.intersection(members or {}))
        if taken:
            raise ValueError(
                f"members cannot have {', '.join(taken)}: these have a meaning of their own. "
                "Choose other names, or the arguments detail, code, status_code and errors."
            )
        try:
            json.dumps([errors, members], cls=DjangoJSONEncoder, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise TypeError(f"errors and members of OperationFailed take JSON: {error}.") from error


class UnknownKind(AsyncReplyError):
    """No task has this name: import its module, or let Celery discover it."""


class NotCalledThisWay(AsyncReplyError):
    """The task was started by Celery's methods: call `services.submit(task, input=…)` instead."""


class PayloadError(AsyncReplyError):
    """A value cannot be stored as JSON: the message says why."""


class PayloadTooLarge(PayloadError):
    """A JSON value is larger than MAX_INPUT or MAX_RESULT: use a file instead."""


class EventsTooLarge(PayloadTooLarge):
    """The events of a job exceed MAX_EVENTS, or one of them exceeds 64 KiB: use the result."""


class EventRefused(AsyncReplyError):
    """An event cannot be emitted here: the message says why, and what to do."""


class UnknownType(PayloadError, TypeError):
    """A value has a type that JSON does not have: convert it to text, a number, a list or a dict.

    For a submit, do so in the view's `get_input`. The message names the value's place and type.
    It is for the log: clients do not see it.
    """


class StorageFailed(AsyncReplyError, OSError):
    """The storage failed: see the cause. `autoretry_for=(OSError,)` covers it."""


class QuotaExceeded(AsyncReplyError):
    """The owner has too many unfinished operations: wait for some to finish."""


class KeyMalformed(AsyncReplyError):
    """The idempotency key is malformed: send 1 to 255 characters of printable ASCII."""


class KeyMissing(AsyncReplyError):
    """The view requires an idempotency key: send a new key with each new request."""


class KeyReused(AsyncReplyError):
    """The idempotency key was used for a different request: use a new key."""


class OperationGone(AsyncReplyError):
    """The operation was deleted or has expired: submit the request again.

    An idempotency key still belongs to that operation: the request needs a new key. The message
    says it where there is one.
    """


class NotCancelable(AsyncReplyError):
    """The operation's kind cannot be canceled: wait for it to finish."""


class AlreadyFinished(AsyncReplyError):
    """The operation reached a final status: read it instead."""


class NotFinished(AsyncReplyError):
    """The operation has no outcome yet: cancel it first, or wait."""


class NotRunning(AsyncReplyError):
    """No attempt runs now: read the operation again."""


class NoSuchStep(AsyncReplyError):
    """The operation has stored no such step: rerun it from its start, or from another step."""


class StepRefused(AsyncReplyError):
    """A step cannot begin here: the message says why, and what to do. Nothing has run."""


class StepFailed(AsyncReplyError):
    """A step failed, and the job went on: the message says what to do. The attempt fails."""


class NoAnswer(AsyncReplyError):
    """Nobody answered the question in time: catch it in the job, or let the operation fail."""


class NotAsked(AsyncReplyError):
    """The job asks nothing under this name now, or it was answered: read it again."""


class JobInterrupted(BaseException):
    """The base class of exceptions that end a job from outside.

    `except Exception` does not catch them, as with KeyboardInterrupt. A job may catch one to clean
    up, and must raise it again.
    """


class OperationCanceled(JobInterrupted):
    """The client canceled the operation: stop; nothing more is stored."""


class ClaimLost(JobInterrupted):
    """Another attempt holds the operation, or it has finished: stop; nothing more is stored."""


class TimeLimitExceeded(JobInterrupted):
    """The job ran for longer than its kind's `time_limit`: stop; the operation fails."""


class WorkerStopping(JobInterrupted):
    """The job's worker stops: stop; another worker runs the operation from its start."""


class AttemptGivenBack(JobInterrupted):
    """Half of the attempt's time is over: stop; the job goes on here in its next attempt."""


class DatabaseAway(JobInterrupted):
    """The database was away for a whole lease: the attempt is lost, and the job runs again."""


class JobPaused(JobInterrupted):
    """Raised by `operation.sleep()` and `operation.ask()`: the attempt ends, a later one goes on.

    `row` is the step of the sleep or the question. `until` is the time, or the seconds from now.
    `is_rest`: the row is stored already, and its time is not over.
    """

    def __init__(self, row: Any, until: Any, *, is_rest: bool = False) -> None:
        super().__init__()
        self.row = row
        self.until = until
        self.is_rest = is_rest


class RetryLater(JobInterrupted):
    """Raised by `operation.retry()`: the attempt ends, and a later one is scheduled."""

    def __init__(self, after: float | timedelta | None = None, cause: Any = None) -> None:
        super().__init__()
        self.after = after
        self.cause = cause
