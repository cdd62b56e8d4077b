"""Stores events as a flush of a job does, for tests of those that read them."""

import json
from typing import Any

from django.db import transaction
from django.db.models import F

from async_reply.models import Operation, OperationEvents
from async_reply.stored_events import Event

AT = "2026-01-02T03:04:05Z"


def event(number: int, name: str = "row", *, is_private: bool = False, data: Any = None) -> Event:
    stored: Event = {"id": number, "event": name, "at": AT, "data": data or {"number": number}}
    return {**stored, "private": True} if is_private else stored


def flush(
    operation: Operation, number: int = 1, *, private: Any = (), size: int = 0, name: str = "row"
) -> None:
    """Store the next `number` events as one row. `private` has the numbers of private ones.

    `size` is the size of the row; 0 stands for the true one.
    """
    with transaction.atomic():
        Operation.objects.filter(pk=operation.pk).update(events=F("events") + number)
        last = Operation.objects.values_list("events", flat=True).get(pk=operation.pk)
        numbers = range(last - number + 1, last + 1)
        store(operation, [event(n, name, is_private=n in private) for n in numbers], size=size)


def store(operation: Operation, events: list[Event], *, size: int = 0) -> None:
    """Store these events as one row, whatever the operation counts."""
    text = json.dumps(events)
    OperationEvents.objects.create(
        operation_id=operation.pk,
        first=events[0]["id"],
        last=events[-1]["id"],
        attempt=1,
        events=text,
        size=size or len(text),
    )
