"""Renders the cells of the list of operations."""

import re
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Any

from django.db.models import QuerySet
from django.db.models.fields.json import KT
from django.db.models.functions import Left
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from async_reply.admin import texts
from async_reply.admin.moments import (
    EMPTY,
    format_duration,
    format_moment,
    localized,
    seconds_between,
)
from async_reply.database.clock import seconds_until
from async_reply.models import Operation
from async_reply.publishing import routing
from async_reply.status import ACTIVE, FINAL, Status

#: Characters of an error's detail that the list reads.
MAX_DETAIL_CHARACTERS = 300

BAR = '<progress class="async-reply-progress" value="{}" max="100" aria-label="{}">{}</progress>'


def with_errors(queryset: QuerySet[Any]) -> QuerySet[Any]:
    """Read the code and the beginning of the detail of each error, and no more of it."""
    rows: QuerySet[Any] = queryset.annotate(
        error_code=Left(KT("error__code"), MAX_DETAIL_CHARACTERS),
        error_detail=Left(KT("error__detail"), MAX_DETAIL_CHARACTERS),
    )
    return rows


def badge(operation: Operation) -> SafeString:
    """The status in its color, with a later attempt, progress, and the time or the reason."""
    parts = [
        format_html(
            '<span class="async-reply-badge async-reply-{}">{}</span>',
            operation.status,
            operation.get_status_display(),
        )
    ]
    note = _note(operation)
    if note:
        parts.append(format_html('<span class="async-reply-quiet">({})</span>', note))
    if operation.attempt > 1:
        attempt = _("attempt %(number)d") % {"number": operation.attempt}
        parts.append(format_html('<span class="async-reply-quiet">{}</span>', attempt))
    if operation.progress is not None and operation.status in ACTIVE:
        text = f"{operation.progress}\N{NO-BREAK SPACE}%"
        parts.append(format_html(BAR, operation.progress, _("Progress"), text))
        parts.append(format_html('<span class="async-reply-quiet">{}</span>', text))
    return format_html_join(" ", "{}", ((part,) for part in parts))


def _note(operation: Operation) -> str:
    if operation.deleted_at is not None:
        return _("deleted") if operation.was_deleted else _("expired")
    if operation.status == Status.PENDING and seconds_until(operation.available_at) > 0:
        return format_html("{} {}", pgettext("time", "from"), format_moment(operation.available_at))
    return ""


def error(operation: Any) -> SafeString | str:
    """The code and the first line of the error, for an operation read by `with_errors`."""
    code = getattr(operation, "error_code", None)
    if not code or operation.status != Status.FAILED:
        return ""
    detail = (getattr(operation, "error_detail", None) or "").strip().partition("\n")[0]
    detail = texts.translated(detail)
    return format_html('<div class="async-reply-error"><code>{}</code> {}</div>', code, detail)


@lru_cache(maxsize=1024)
def dotted(text: str) -> SafeString:
    """A name with a possible line break after each dot and underscore."""
    parts = re.split(r"(?<=[._])", text)
    return format_html_join(mark_safe("<wbr>"), "{}", ((part,) for part in parts))


def with_queues(operations: Iterable[Any]) -> None:
    """Add its queue to each operation. Celery's routes are asked once for each kind."""
    route = cache(routing.route_or_unknown)
    for operation in operations:
        operation.routed_queue = operation.queue or route(operation.kind).queue


def queue(operation: Any) -> str:
    """The queue of the operation's messages: its own, or that of its kind by Celery's routes."""
    if not hasattr(operation, "routed_queue"):
        with_queues([operation])
    return operation.routed_queue or EMPTY


def age(operation: Operation) -> SafeString | str:
    """The time since the submit; the exact time is a title."""
    seconds = seconds_between(operation.created_at, None)
    if seconds is None:
        return EMPTY
    moment = localized(operation.created_at)
    return format_html(
        '<time title="{}" datetime="{}">{}</time>',
        f"{moment:%Y-%m-%d %H:%M:%S}",
        moment.isoformat(timespec="seconds"),
        format_duration(seconds),
    )


def wait(operation: Operation) -> str:
    """How long the last attempt waited after it was due, or how long the next one waits by now."""
    if operation.status == Status.PENDING:
        seconds = -seconds_until(operation.available_at)
        return format_duration(seconds) if seconds > 0 else EMPTY
    waited = seconds_between(operation.available_at, operation.started_at)
    return EMPTY if operation.started_at is None or waited is None else format_duration(waited)


def run_time(operation: Operation) -> str:
    """How long the last attempt ran, or runs by now."""
    if operation.status not in ACTIVE | FINAL:
        return EMPTY
    seconds = seconds_between(operation.started_at, operation.finished_at)
    return EMPTY if seconds is None else format_duration(seconds)


def owner(operation: Any) -> SafeString | str:
    """The owner's text and link, as `OperationAccess.describe_owner` gave them for the list."""
    if not operation.owner:
        return EMPTY
    text, link = getattr(operation, "described_owner", (operation.owner, ""))
    return format_html('<a href="{}">{}</a>', link, text) if link else text
