"""The statuses of an operation and the arrows between them."""

from django.db.models import TextChoices


class Status(TextChoices):
    """The words on the wire, spelled as clients of the pattern expect them."""

    PENDING = "pending"
    RUNNING = "running"
    CANCELING = "canceling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.RUNNING, Status.FAILED, Status.CANCELED}),
    Status.RUNNING: frozenset({Status.PENDING, Status.CANCELING, Status.SUCCEEDED, Status.FAILED}),
    Status.CANCELING: frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELED}),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELED: frozenset(),
}

#: Statuses that never change again.
FINAL = frozenset(status for status, targets in TRANSITIONS.items() if not targets)
#: Statuses from which an outcome is still to come.
UNFINISHED = frozenset(TRANSITIONS) - FINAL
#: Statuses in which an attempt holds the operation: those that may succeed.
ACTIVE = frozenset(status for status, targets in TRANSITIONS.items() if Status.SUCCEEDED in targets)
