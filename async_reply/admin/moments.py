"""Times to the second, in the operator's zone: what Django shows by default ends at minutes."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

#: What stands where there is nothing; the change page would print "None".
EMPTY = "-"


def moment(model: type[Model], name: str) -> Callable[[Any], str]:
    """A column for `list_display` or a fieldset that shows the time in the field `name`."""
    label: Any = getattr(model._meta.get_field(name), "verbose_name", name)

    @admin.display(description=label)
    def show(row: Any) -> str:
        value = getattr(row, name)
        return EMPTY if value is None else written(value)

    show.__name__ = name
    return show


def written(value: datetime) -> SafeString:
    """Date and time, between which a narrow column may break."""
    if timezone.is_aware(value):
        value = timezone.localtime(value)
    parts = '<span class="async-reply-time">{}</span> <span class="async-reply-time">{}</span>'
    return format_html(parts, f"{value:%Y-%m-%d}", f"{value:%H:%M:%S}")
