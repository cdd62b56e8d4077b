"""How long an attempt has, by `time.monotonic()`: this clock needs no database.

The database's own time for it is `deadline_at` in the row. It is earlier than `time_limit` says if
the time of all attempts together ends first.
"""

import math
import time
from typing import Any

from async_reply.attempts import outages
from async_reply.database import alias, statements
from async_reply.models import Operation


class Halftime:
    """Gives an attempt back between two steps or items, once half of its time is over."""

    def __init__(self, operation: Operation, half_at: float) -> None:
        self._operation = operation
        self.half_at = half_at
        self._has_got_further = False

    def get_further(self) -> None:
        """A step is stored, or an item is done: a later attempt need not do it again."""
        self._has_got_further = True
        self._operation.idle_releases = 0

    def is_over(self) -> bool:
        """Whether the attempt is to be given back. One that has got no further goes on."""
        return self._has_got_further and time.monotonic() >= self.half_at


def of(operation: Operation) -> tuple[float, float]:
    """When an attempt that has just been claimed has to end, and when half of its time is over.

    If the time of all attempts ends first, half of it is never over: a further attempt would have
    no more time than this one.
    """
    now, seconds = time.monotonic(), float(operation.time_limit)
    if operation.give_up_at is not None:
        if not statements.are_possible(alias()):
            # The row was read before the claim.
            outages.read_for_job(operation.pk, lambda: _read(operation))
        left = _seconds(operation)
        if left < seconds - 1:
            return now + left, math.inf
    # A job that must not run twice is not given back.
    half_at = now + seconds / 2 if operation.max_losses else math.inf
    return now + seconds, half_at


def _seconds(operation: Any) -> float:
    """From the claim to the deadline, by the database's clock."""
    return float((operation.deadline_at - operation.started_at).total_seconds())


def _read(operation: Operation) -> None:
    operation.refresh_from_db(fields=["started_at", "deadline_at"])
