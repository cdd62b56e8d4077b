"""Shows the newest events of an operation on its page: what its job emitted and logged.

Only users who may see the payload get them, with the lines that clients do not see.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from async_reply.admin.moments import localized
from async_reply.models import Operation, OperationEvents
from async_reply.stored_events import LOG, RESET, Event

#: The number of events that a page shows.
MAX_EVENTS = 200
#: The size of the rows that a page reads. The newest row is read however long it is.
MAX_BYTES = 256 * 1024
#: The number of characters of an event that a page shows, and of those that are not folded.
MAX_CHARACTERS = 2_000
MAX_UNFOLDED = 80


@dataclass(frozen=True)
class Line:
    """An event as the page shows it."""

    number: int
    at: datetime
    attempt: int
    #: The level of a line of the log, or the name of the event.
    name: str
    text: str
    #: The beginning of a long JSON value; '' if the text is shown as it is.
    summary: str
    is_truncated: bool
    is_void: bool
    is_private: bool


def panel(operation: Operation) -> SafeString | str:
    """The newest events, the last one first; '' for an operation without any."""
    if not operation.events:
        return ""
    lines = [
        _line(row, event) for row in _newest_rows(operation) for event in _newest_first(row.events)
    ][:MAX_EVENTS]
    if not lines:
        return ""
    removed = [newer.number - older.number - 1 for newer, older in pairwise(lines)]
    context = {
        "lines": list(zip(lines, [*removed, 0], strict=True)),
        "shown": len(lines),
        "has_more": len(lines) < max(operation.events, lines[0].number),
    }
    return render_to_string("async_reply/admin/event_log.html", context)


def _newest_rows(operation: Operation) -> list[Any]:
    """The last rows, as far as they fit on the page. The sizes are read before the texts."""
    rows = OperationEvents.objects.filter(operation=operation).order_by("-last")
    chosen: list[int] = []
    size = 0
    for pk, row_size in rows.values_list("pk", "size")[:MAX_EVENTS]:
        size += row_size
        if chosen and size > MAX_BYTES:
            break
        chosen.append(pk)
    return list(rows.filter(pk__in=chosen)) if chosen else []


def _newest_first(events: str) -> list[Event]:
    listed: list[Event] = json.loads(events)
    return listed[::-1]


def _line(row: OperationEvents, event: Event) -> Line:
    name, text = _described(event)
    is_value = event["event"] not in (LOG, RESET)
    return Line(
        number=event["id"],
        at=_time(event["at"]),
        attempt=row.attempt,
        name=name,
        text=text[:MAX_CHARACTERS],
        summary=text[:MAX_UNFOLDED] if is_value and len(text) > MAX_UNFOLDED else "",
        is_truncated=len(text) > MAX_CHARACTERS,
        is_void=row.is_void,
        is_private=event.get("private", False),
    )


def _described(event: Event) -> tuple[str, str]:
    """The level and the text of a line of the log; of other events the name and the data."""
    name: str = event["event"]
    data: Any = event.get("data")
    if name == LOG:
        return data["level"], data["text"]
    if name == RESET:
        return name, _("The events after number %(number)s are void.") % {"number": data["after"]}
    return name, json.dumps(data, ensure_ascii=False)


def _time(text: str) -> datetime:
    """The time of an event in the operator's time zone. Workers write it in UTC."""
    value = datetime.fromisoformat(text)
    return localized(value if timezone.is_aware(value) else value.replace(tzinfo=UTC))
