"""Writes events under the guard of their attempt, and keeps an operation's log within its bound."""

import json
from contextlib import nullcontext
from dataclasses import dataclass

from django.db import transaction
from django.db.models import F, Q, Sum

from async_reply import conf
from async_reply.database import alias, statements
from async_reply.models import Operation, OperationEvents
from async_reply.notifications import announcements
from async_reply.status import ACTIVE
from async_reply.stored_events import LOG

#: When the bound is reached, the log is shortened to this part of it, and not at each write.
SHORTENED = 7 / 8


@dataclass
class Batch:
    """Events that become one row: those from `after + 1` to `last`. `text` is their JSON list."""

    after: int
    last: int
    text: str
    size: int
    log_size: int
    has_reset: bool
    #: Bytes of older events that were removed when it was written.
    removed: int = 0


@dataclass
class Sizes:
    """Bytes of an operation's log: all that are stored, and those of emitted events that count."""

    stored: int = 0
    emitted: int = 0


def read_sizes(operation: Operation) -> Sizes:
    """The bytes that earlier attempts have left. It reads nothing for a first attempt."""
    if not operation.events:
        return Sizes()
    counts = Q(is_void=False, last__lte=operation.kept_events)
    rows = OperationEvents.objects.filter(operation_id=operation.pk)
    emitted = Sum(F("size") - F("log_size"), filter=counts, default=0)
    return Sizes(**rows.aggregate(stored=Sum("size", default=0), emitted=emitted))


def write(operation: Operation, batch: Batch, sizes: Sizes) -> bool:
    """Insert the row and raise the number of the last event; False if the attempt has lost it."""
    is_too_long = sizes.stored + batch.size > conf.get("MAX_EVENTS")
    is_one_statement = not (is_too_long or batch.has_reset) and statements.are_possible(alias())
    held = {"pk": operation.pk, "attempt": operation.attempt, "status__in": sorted(ACTIVE)}
    guard, changes = {**held, "events": batch.after}, {"events": batch.last}
    with nullcontext() if is_one_statement else transaction.atomic(using=alias()):
        row = _row(operation, batch)
        if not statements.update(Operation, alias(), guard, changes, insert=row):
            # An error may have hidden that an earlier try was committed. Then the row shows it.
            return bool(Operation.objects.filter(**held, events__gte=batch.last).exists())
        if batch.has_reset:
            _void(operation, before=row.first)
        if is_too_long:
            batch.removed = _shorten(operation, sizes.stored + batch.size, before=row.first)
    announcements.announce_events(operation.pk)
    return True


def _row(operation: Operation, batch: Batch) -> OperationEvents:
    return OperationEvents(
        operation_id=operation.pk,
        first=batch.after + 1,
        last=batch.last,
        attempt=operation.attempt,
        events=batch.text,
        size=batch.size,
        log_size=batch.log_size,
    )


def _void(operation: Operation, *, before: int) -> None:
    """Mark the rows that a later attempt does not keep."""
    OperationEvents.objects.filter(
        operation_id=operation.pk, first__gt=operation.kept_events, last__lt=before
    ).update(is_void=True)


def _shorten(operation: Operation, stored: int, *, before: int) -> int:
    """Remove the oldest void events and lines of the log; returns how many bytes.

    Emitted events are never removed.
    """
    excess = stored - int(conf.get("MAX_EVENTS") * SHORTENED)
    rows = OperationEvents.objects.filter(operation_id=operation.pk, last__lt=before)
    removed = 0
    for row in rows.filter(Q(is_void=True) | Q(log_size__gt=0)).order_by("last"):
        if removed >= excess:
            break
        if row.is_void or row.log_size == row.size:
            row.delete()
            removed += row.size
            continue
        events = [event for event in json.loads(row.events) if event["event"] != LOG]
        removed += row.log_size
        row.size, row.log_size = row.size - row.log_size, 0
        row.events = json.dumps(events, ensure_ascii=False, separators=(",", ":"))
        row.save(update_fields=["size", "log_size", "events"])
    return removed
