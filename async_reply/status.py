"""The statuses of an operation, and the arrows between them.

A submit stores an operation as pending. A worker claims it: running. The attempt succeeds or
fails, or returns the operation to pending for another attempt. A client cancels: a pending
operation is canceled at once, a running one is canceling until its attempt has stopped.
"""

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _


class Status(TextChoices):
    """The values in the database and in HTTP bodies."""

    PENDING = "pending", _("Pending")
    RUNNING = "running", _("Running")
    CANCELING = "canceling", _("Canceling")
    SUCCEEDED = "succeeded", _("Succeeded")
    FAILED = "failed", _("Failed")
    CANCELED = "canceled", _("Canceled")


TRANSITIONS: dict[Status, frozenset[Status]] = {
    # Failed without an attempt: no worker knows the kind.
    Status.PENDING: frozenset({Status.RUNNING, Status.FAILED, Status.CANCELED}),
    # Pending again: a retry, a worker that stops, or a lost attempt.
    Status.RUNNING: frozenset({Status.PENDING, Status.CANCELING, Status.SUCCEEDED, Status.FAILED}),
    # A job that ends before it hears of the cancel succeeds or fails.
    Status.CANCELING: frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELED}),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELED: frozenset(),
}

#: Statuses that never change again.
FINAL = frozenset(status for status, targets in TRANSITIONS.items() if not targets)
#: Statuses that will change: the operation has no outcome yet.
UNFINISHED = frozenset(TRANSITIONS) - FINAL
#: Statuses in which an attempt holds the operation: those that may become succeeded.
ACTIVE = frozenset(status for status, targets in TRANSITIONS.items() if Status.SUCCEEDED in targets)
#: Statuses in which a cancel changes the operation.
CANCELABLE = UNFINISHED - {Status.CANCELING}
#: Final statuses of an operation that ran to its end: a DELETE removes its content.
DELETABLE = FINAL & TRANSITIONS[Status.RUNNING]
