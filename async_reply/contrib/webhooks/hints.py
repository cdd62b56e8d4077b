"""Hears that an operation has started or ended, and has its deliveries looked at soon.

A hint may be lost with its process, or with the broker. `duties` then finds the delivery.
"""

from typing import Any

from django.db.models import Q
from django.db.models.functions import Coalesce, Greatest

from async_reply.contrib.webhooks import submits
from async_reply.contrib.webhooks.models import Delivery
from async_reply.database.clock import DatabaseNow
from async_reply.models import Operation


def give(operation: Operation) -> None:
    """Mark the deliveries of the operation as due, after the commit; nothing if it has none."""
    if not operation.reply.get(submits.MARK):
        return
    if mark(operation=operation.pk):
        start()


def mark(*conditions: Q, **rows: Any) -> int:
    """Mark open deliveries as due: now, or when their receiver lets us. Returns how many."""
    now = DatabaseNow()
    due_at = Greatest(now, Coalesce("not_before", now))
    marked = Delivery.objects.filter(*conditions, state=Delivery.State.OPEN, **rows)
    return marked.update(due_at=due_at)


def start() -> None:
    """Have a worker deliver what is due, without waiting for it."""
    from async_reply.contrib.webhooks import tasks

    tasks.publish()
