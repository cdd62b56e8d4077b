"""Formats times of the admin to the second, in the operator's time zone, and durations.

Django's own format shows minutes only.
"""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

#: The text for a missing value; Django's change page would print "None".
EMPTY = "-"


def moment_column(model: type[Model], name: str) -> Callable[[Any], str]:
    """A column for `list_display` or a fieldset that shows the time in the field `name`."""
    label: Any = getattr(model._meta.get_field(name), "verbose_name", name)

    @admin.display(description=label)
    def show(row: Any) -> str:
        value = getattr(row, name)
        return EMPTY if value is None else format_moment(value)

    show.__name__ = name
    return show


def format_moment(value: datetime) -> SafeString:
    """The date and the time as HTML; a narrow column breaks the line between the two only."""
    value = localized(value)
    parts = '<span class="async-reply-time">{}</span> <span class="async-reply-time">{}</span>'
    return format_html(parts, f"{value:%Y-%m-%d}", f"{value:%H:%M:%S}")


def localized(value: datetime) -> datetime:
    """The time in the operator's time zone. Without USE_TZ it is naive, and stays as it is."""
    return timezone.localtime(value) if timezone.is_aware(value) else value


def format_duration(seconds: float) -> str:
    """Two units at most: `5 s`, `3 min 20 s`, `2 h 5 min`, `4 d 1 h`; below a second `0.4 s`."""
    seconds = max(0.0, seconds)
    if seconds < 1:
        return _("%(number)s s") % {"number": f"{seconds:.1f}"}
    minutes, whole_seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = (
        (days, _("%(number)s d")),
        (hours, _("%(number)s h")),
        (minutes, _("%(number)s min")),
        (whole_seconds, _("%(number)s s")),
    )
    first = next(index for index, (number, _text) in enumerate(parts) if number)
    shown = [text % {"number": number} for number, text in parts[first : first + 2] if number]
    return " ".join(text.replace(" ", "\N{NO-BREAK SPACE}") for text in shown)


def seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    """Seconds from `start` to `end`, and to now if there is no `end`; None without a start."""
    if start is None:
        return None
    return (time.time() if end is None else end.timestamp()) - start.timestamp()
