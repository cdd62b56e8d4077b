"""Counts the operations that are released again and again and get no further."""

from typing import Any

from django.db.models import Count, Q

from async_reply.attempts.reports import MANY_RELEASES
from async_reply.models import Operation
from async_reply.statistics.backlog import ROWS_COUNTED


def count_idle() -> int:
    """The operations that were released three times since their last step or item.

    Two queries read those that run and those that wait, a bounded number of each.
    """
    waiting = Operation.objects.due().order_by("published_at", "available_at")
    return _count(Operation.objects.active()) + _count(waiting)


def _count(rows: Any) -> int:
    idle = Count("pk", filter=Q(idle_releases__gte=MANY_RELEASES))
    return int(rows[:ROWS_COUNTED].aggregate(count=idle)["count"])
