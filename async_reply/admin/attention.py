"""Finds the operations that somebody should look at: stuck ones, overdue ones, and idle ones."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from async_reply.admin import windows
from async_reply.attempts.reports import MANY_RELEASES
from async_reply.database.clock import DatabaseNow
from async_reply.models import Operation
from async_reply.status import ACTIVE, UNFINISHED, Status

#: The most operations that a rule finds, the oldest ones.
MAX_FOUND = 500
#: An operation that is due for so long without a claim is stuck.
UNCLAIMED_AFTER = timedelta(minutes=5)
#: A job calls in more often than this, unless it hangs.
CANCELING_AFTER = timedelta(minutes=5)


@dataclass(frozen=True)
class Rule:
    """A reason to look at operations, and how they are found."""

    label: Any
    ids: Callable[[], list[UUID]]


def stuck() -> list[UUID]:
    """Operations that no worker claims although they are due, and those that do not stop."""
    unclaimed = _oldest(Status.PENDING).filter(available_at__lte=DatabaseNow() - UNCLAIMED_AFTER)
    stopping = _oldest(Status.CANCELING)
    hanging = stopping.filter(cancel_requested_at__lte=DatabaseNow() - CANCELING_AFTER)
    return [*unclaimed[:MAX_FOUND], *hanging[:MAX_FOUND]]


def overdue() -> list[UUID]:
    """Operations whose attempt has exceeded its time limit, or whose worker is silent."""
    late: list[UUID] = []
    for status in sorted(ACTIVE):
        late += _oldest(Status(status)).filter(lease_expires_at__lte=DatabaseNow())[:MAX_FOUND]
    return late


def idle() -> list[UUID]:
    """Operations that workers release again and again, and that get no further."""
    found: list[UUID] = []
    for status in sorted(UNFINISHED):
        many = _oldest(Status(status)).filter(idle_releases__gte=MANY_RELEASES)
        found += many[:MAX_FOUND]
    return found


RULES = {
    "stuck": Rule(_("Stuck"), stuck),
    "overdue": Rule(_("Overdue"), overdue),
    "idle": Rule(_("Released again and again"), idle),
}


def _oldest(status: Status) -> QuerySet[Any, UUID]:
    """The ids of the oldest operations in this status, as many as a window has."""
    queryset = Operation.objects.filter(status=status)
    window = windows.Window(oldest_first=True)
    return window.narrow(queryset).order_by("pk").values_list("pk", flat=True)
