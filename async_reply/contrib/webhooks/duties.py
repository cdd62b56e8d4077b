"""The duties of each worker that find what no hint has told of.

One worker does each of them for all.
"""

from typing import Any

from django.db.models import Exists, OuterRef, Q

from async_reply import conf
from async_reply.contrib.webhooks import deliveries, events, hints
from async_reply.contrib.webhooks.models import Delivery
from async_reply.database.clock import DatabaseNow, after
from async_reply.models import Operation, Turn
from async_reply.status import Status
from async_reply.worker.maintenance import Duty
from async_reply.worker.turns import OneForAll

DUE_SECONDS, NET_SECONDS, PURGE_SECONDS = 5, 30, 3600
NET = "webhooks net"
#: Open deliveries that one turn compares with their operations.
NET_ROWS = 5000
PURGE_ROWS = 1000


def make_due(_consumer: Any) -> Duty:
    turn = OneForAll("webhooks", DUE_SECONDS, start_due)
    return Duty("webhooks", DUE_SECONDS, turn, publishes=True)


def make_net(_consumer: Any) -> Duty:
    return Duty(NET, NET_SECONDS, OneForAll(NET, NET_SECONDS, cast_net))


def make_purge(_consumer: Any) -> Duty:
    name = "webhooks purge"
    return Duty(name, PURGE_SECONDS, OneForAll(name, PURGE_SECONDS, purge), drains=True)


def start_due() -> int:
    """Have a worker deliver what is due: another try, or what a dead process had claimed."""
    if not deliveries.claimable().exists():
        return 0
    hints.start()
    return 1


def cast_net() -> int:
    """Mark deliveries whose operation went on without a hint; returns how many.

    A turn takes the next rows in the order of their ids, and remembers where it ended.
    """
    turn = Turn.objects.filter(duty=NET)
    findings: dict[str, Any] = turn.values_list("findings", flat=True).first() or {}
    rows = Delivery.objects.filter(state=Delivery.State.OPEN).order_by("id")
    if findings.get("after"):
        rows = rows.filter(id__gt=findings["after"])
    ids = list(rows.values_list("id", flat=True)[:NET_ROWS])
    turn.update(findings={"after": str(ids[-1]) if len(ids) == NET_ROWS else ""})
    if not ids:
        return 0
    marked = mark_between(ids[0], ids[-1])
    if marked:
        hints.start()
    return marked


def mark_between(first: Any, last: Any) -> int:
    """Mark the open deliveries with these ids whose event is not the one of their operation."""
    operations = Operation.objects.filter(pk=OuterRef("operation"))
    has_ended = Exists(operations.filter(status__in=list(events.OUTCOMES)))
    has_begun = Exists(operations.filter(attempt__gt=OuterRef("number")))
    asking = operations.filter(status=Status.PENDING, pause=events.QUESTION)
    # The number of an event before an outcome is that of an attempt. An attempt asks once.
    is_told_it = Q(event=events.INPUT_REQUIRED) & ~Exists(
        asking.filter(attempt__gt=OuterRef("number"))
    )
    is_gone = Q(expires_at__lte=DatabaseNow()) | Q(deleted_at__isnull=False)
    late = (
        Q(has_ended, has_outcome=False)
        | Q(has_begun, has_outcome=False, wants_started=True)
        | Q(Exists(asking), has_outcome=False, wants_input=True) & ~is_told_it
        | Q(Exists(operations.filter(is_gone)), wants_expired=True, has_outcome=True, is_told=True)
        | Q(~Exists(operations), is_told=True)
    )
    is_not_due = Q(due_at=None) | Q(due_at__gt=DatabaseNow())
    return hints.mark(late & is_not_due, id__gte=first, id__lte=last)


def purge() -> int:
    """Delete deliveries whose time in the ledger is over; returns how many."""
    old = Delivery.objects.filter(ended_at__lte=after(-conf.get("WEBHOOK_LEDGER")))
    ids = list(old.order_by("ended_at").values_list("pk", flat=True)[:PURGE_ROWS])
    Delivery.objects.filter(pk__in=ids).delete()
    return len(ids)


MAKERS = (make_due, make_net, make_purge)
