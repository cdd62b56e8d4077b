"""The duties of each worker that find what no hint has told of.

One worker does each of them for all.
"""

from typing import Any

from django.db.models import Exists, OuterRef, Q

from async_reply import conf
from async_reply.contrib.webhooks import deliveries, events, hints, submits
from async_reply.contrib.webhooks.models import Delivery, Endpoint
from async_reply.database.clock import DatabaseNow, after
from async_reply.models import Operation, Turn
from async_reply.worker.maintenance import Duty
from async_reply.worker.turns import OneForAll

DUE_SECONDS, NET_SECONDS, PURGE_SECONDS = 5, 30, 3600
NET = "webhooks net"
#: Open deliveries that one turn compares with their operations.
NET_ROWS = 5000
#: Deliveries whose operations one statement reads.
COMPARED_ROWS = 1000
DELIVERY_COLUMNS = (
    *("operation", "event", "number", "is_told", "has_outcome", "outcomes", "due_at"),
    *("wants_started", "wants_input", "wants_expired"),
)
OPERATION_COLUMNS = ("status", "pause", "attempt", "expires_at", "deleted_at")
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
    compared = list(rows.only(*DELIVERY_COLUMNS)[:NET_ROWS])
    is_full = len(compared) == NET_ROWS
    turn.update(findings={"after": str(compared[-1].pk) if is_full else ""})
    marked = 0
    for first in range(0, len(compared), COMPARED_ROWS):
        marked += mark_late(compared[first : first + COMPARED_ROWS])
    if marked:
        hints.start()
    return marked


def mark_late(compared: list[Delivery]) -> int:
    """Mark those of these open deliveries whose event is not the one of their operation.

    The operations are read by their keys. A comparison by the database itself would read the whole
    table where its planner prefers that.
    """
    keys = [delivery.operation for delivery in compared]
    operations = Operation.objects.only(*OPERATION_COLUMNS).in_bulk(keys)
    late = [row.pk for row in compared if _is_late(row, operations.get(row.operation))]
    is_not_due = Q(due_at=None) | Q(due_at__gt=DatabaseNow())
    return hints.mark(is_not_due, pk__in=late) if late else 0


def _is_late(delivery: Delivery, operation: Operation | None) -> bool:
    """Whether a claim would find another event than the row has, or that the row can end."""
    found = events.find(delivery, operation)
    if found is not None:
        return delivery.due_at is None or found != (delivery.event, delivery.number)
    is_final = operation is None or operation.status in events.OUTCOMES
    return is_final and not (delivery.has_outcome and operation is not None)


def purge() -> int:
    """Delete deliveries whose time in the ledger is over; returns how many.

    Endpoints of removed owners go with their last delivery.
    """
    old = Delivery.objects.filter(ended_at__lte=after(-conf.get("WEBHOOK_LEDGER")))
    ids = list(old.order_by("ended_at").values_list("pk", flat=True)[:PURGE_ROWS])
    Delivery.objects.filter(pk__in=ids).delete()
    nobodys = Endpoint.objects.filter(owner=submits.NOBODY)
    nobodys.exclude(Exists(Delivery.objects.filter(endpoint=OuterRef("pk")))).delete()
    return len(ids)


MAKERS = (make_due, make_net, make_purge)
