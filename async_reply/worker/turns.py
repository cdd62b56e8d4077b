"""Lets one worker do a duty for all workers, once in each interval.

The row of a duty says when the duty is due next. The worker that moves this time on has the turn. A
worker that dies in its turn delays nobody: the duty is due again when its interval has passed.
"""

from collections.abc import Callable

from django.db import IntegrityError, transaction
from django.db.models import BooleanField, ExpressionWrapper, Q

from async_reply import conf
from async_reply.database import alias
from async_reply.database.clock import DatabaseNow, after
from async_reply.models import Turn

#: A turn lasts this part of the interval. Workers ask about once in an interval, some a little
#: earlier: a single worker would otherwise often ask too early, and skip an interval.
SHARE_OF_INTERVAL = 0.75


class OneForAll:
    """A duty's function that does nothing in a worker which does not have the turn.

    After a full batch the worker keeps the turn, and goes on.
    """

    def __init__(self, name: str, interval_seconds: float, function: Callable[[], int]) -> None:
        self._name = name
        self._seconds = interval_seconds * SHARE_OF_INTERVAL
        self._function = function
        self._has_more = False

    def __call__(self) -> int:
        has_turn = self._keep() if self._has_more else take(self._name, seconds=self._seconds)
        changed = self._function() if has_turn else 0
        self._has_more = changed >= conf.get("BATCH")
        return changed

    def _keep(self) -> bool:
        Turn.objects.filter(duty=self._name).update(due_at=after(self._seconds))
        return True


def take(duty: str, *, seconds: float) -> bool:
    """Take the turn of a duty for `seconds`; False if another worker has it."""
    row = Turn.objects.filter(duty=duty)
    due = Q(due_at__lte=DatabaseNow())
    is_due = row.values_list(ExpressionWrapper(due, BooleanField()), flat=True).first()
    if is_due is not None:
        return bool(is_due and row.filter(due).update(due_at=after(seconds)))
    try:
        with transaction.atomic(using=alias()):
            Turn.objects.create(duty=duty, due_at=after(seconds))
    except IntegrityError:
        return False
    return True
