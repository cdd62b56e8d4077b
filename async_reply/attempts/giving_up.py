"""Ends operations that wait although the time of all their attempts together is over.

A running attempt has the same deadline: its job hears of it, or a rescue ends it.
"""

from async_reply import conf, lifecycle, signals
from async_reply.attempts import compensation, reports
from async_reply.models import Operation
from async_reply.status import Status


def give_up() -> int:
    """End a batch of them as failed; how many."""
    overdue = Operation.objects.given_up().order_by("give_up_at")
    return sum(_give_up(operation) for operation in overdue[: conf.get("BATCH")])


def _give_up(operation: Operation) -> bool:
    undo = compensation.of_lost(operation)
    status = undo.stored(lambda: Status.FAILED if lifecycle.give_up(operation) else None)
    if status is None:
        return False
    undo.warn_of_unknown_kind()
    reason = "the time limit of all its attempts together is over"
    reports.log_end(operation, status, code="timed-out", reason=reason)
    signals.announce_finished(operation, status)
    return True
