"""What async_reply raises; each docstring says what to do about it."""

from datetime import timedelta
from typing import Any


class AsyncReplyError(Exception):
    """Base of the errors a caller may want to catch."""


class OperationFailed(AsyncReplyError):
    """Raised by a job to fail with a text its client may read.

    `detail` is the text, `code` a short word for programs, `status_code` a 4xx that the
    result URL answers with. Statuses that make clients retry, log in or forget the
    operation are refused, since they mean something else there.
    """

    RESERVED = frozenset({401, 404, 405, 406, 408, 410, 425, 429})

    def __init__(
        self, detail: str, *, code: str = "operation-failed", status_code: int = 409
    ) -> None:
        if not 400 <= status_code <= 499 or status_code in self.RESERVED:
            raise ValueError(
                f"status_code={status_code} cannot report a failed operation: choose a 4xx "
                f"other than {', '.join(map(str, sorted(self.RESERVED)))}."
            )
        super().__init__(detail)
        self.detail = detail
        self.code = code
        self.status_code = status_code


class UnknownKind(AsyncReplyError):
    """No task of this name is registered: import its module, or let Celery discover it."""


class NotCalledThisWay(AsyncReplyError):
    """A Celery way to start the task was used: call `services.submit(task, input=…)` instead."""


class PayloadError(AsyncReplyError):
    """A value cannot be stored as JSON: the message names the first part that cannot."""


class PayloadTooLarge(PayloadError):
    """A JSON value exceeds its bound: hand over a file instead."""


class StorageFailed(AsyncReplyError, OSError):
    """The storage of files refused: see its cause. `autoretry_for=(OSError,)` covers it."""


class QuotaExceeded(AsyncReplyError):
    """The owner has too many unfinished operations: wait for some to finish."""


class KeyMalformed(AsyncReplyError):
    """The idempotency key cannot be one: send 1 to 255 characters of printable ASCII."""


class KeyMissing(AsyncReplyError):
    """The view wants an idempotency key: send a new one with each new request."""


class KeyReused(AsyncReplyError):
    """The idempotency key came with another request before: use a new key."""


class OperationGone(AsyncReplyError):
    """The operation of this idempotency key was deleted or has expired: use a new key."""


class NotCancelable(AsyncReplyError):
    """The operation's kind cannot be canceled: wait for it to finish."""


class AlreadyFinished(AsyncReplyError):
    """The operation reached a final status: read it instead."""


class NotFinished(AsyncReplyError):
    """The operation has no outcome yet: cancel it first, or wait."""


class JobInterrupted(BaseException):
    """Base of what ends a job from outside; like KeyboardInterrupt it passes `except Exception`.

    A job may catch it to clean up and must raise it again.
    """


class OperationCanceled(JobInterrupted):
    """The client canceled the operation: stop; nothing more is stored."""


class ClaimLost(JobInterrupted):
    """Another attempt holds the operation, or it is over: stop; nothing more is stored."""


class TimeLimitExceeded(JobInterrupted):
    """The job ran for longer than its kind's `time_limit`: stop; the operation fails."""


class WorkerStopping(JobInterrupted):
    """The job's worker was told to stop: stop; another worker starts the operation anew."""


class RetryLater(JobInterrupted):
    """What `operation.retry()` raises: the attempt ends, a later one is scheduled."""

    def __init__(self, after: float | timedelta | None = None, cause: Any = None) -> None:
        super().__init__()
        self.after = after
        self.cause = cause
