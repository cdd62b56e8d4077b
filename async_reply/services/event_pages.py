"""Reads the events of an operation page by page, for clients that read its log."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import F, Sum, Window

from async_reply.models import Operation
from async_reply.stored_events import TRUNCATED, Event, OperationEvents

#: A page ends with the row by which its rows have this size.
PAGE_BYTES = 64 * 1024


@dataclass(frozen=True)
class Page:
    """Events in order, and how far they reach.

    `events` has those that clients may read. Where events were removed, it has one that says so.
    `last` is the number through which nothing is missing. `is_cut`: the next page has more events.
    """

    events: list[Event]
    last: int
    is_cut: bool


def read(operation: Operation, after: int) -> Page:
    """The events after this number, up to the last one that `operation` had when it was read.

    A flush inserts its row and raises the number in one transaction. So each event up to the number
    is stored when the number is read, or was removed.
    """
    if after >= operation.events:
        return Page([], operation.events, is_cut=False)
    rows = list(_rows(operation, after))
    is_full = bool(rows) and rows[-1].before + rows[-1].size >= PAGE_BYTES
    is_cut = is_full and rows[-1].last < operation.events
    last = rows[-1].last if is_cut else operation.events
    stored = (event for row in rows for event in json.loads(row.events))
    return Page(list(_readable(stored, after=after, through=last)), last, is_cut=is_cut)


def _rows(operation: Operation, after: int) -> Any:
    """The rows of the page, by one statement that adds up the sizes of those before each."""
    before = Window(Sum("size"), order_by=F("last").asc()) - F("size")
    rows = OperationEvents.after(operation, after).filter(last__lte=operation.events)
    return rows.annotate(before=before).filter(before__lt=PAGE_BYTES).only("last", "size", "events")


def _readable(stored: Iterator[Event], *, after: int, through: int) -> Iterator[Event]:
    """The events from `after` through the last one: without private ones, and with each gap."""
    for event in stored:
        number = event["id"]
        if number <= after:
            continue
        if number > after + 1:
            yield _truncated(after, number - 1)
        if not event.get("private"):
            yield event
        after = number
    if after < through:
        yield _truncated(after, through)


def _truncated(after: int, through: int) -> Event:
    """These events were removed, since the log had grown too long."""
    data = {"after": after, "through": through}
    return {"id": through, "event": TRUNCATED, "data": data}
