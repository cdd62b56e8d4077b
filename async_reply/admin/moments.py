"""Formats times of the admin to the second, in the operator's time zone.

Django's own format shows minutes only.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

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
    if timezone.is_aware(value):
        value = timezone.localtime(value)
    parts = '<span class="async-reply-time">{}</span> <span class="async-reply-time">{}</span>'
    return format_html(parts, f"{value:%Y-%m-%d}", f"{value:%H:%M:%S}")
