"""Writes times and durations as operators read them, in the language of the thread."""

from datetime import datetime

from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext as _


def moment(value: datetime) -> str:
    """The date and the time to the second, in the current time zone."""
    local = timezone.localtime(value) if timezone.is_aware(value) else value
    return f"{local:%Y-%m-%d %H:%M:%S}"


def duration(seconds: float) -> str:
    """Two digits or more of a duration, in the unit that fits: `3.2 s`, `40 s`, `12 min`, `2.5 h`.

    A space that does not break the line separates the number and the unit.
    """
    seconds = max(0.0, seconds)
    units = ((90.0, 1, _("s")), (5_400.0, 60, _("min")), (129_600.0, 3_600, _("h")))
    for limit, size, unit in units:
        if seconds < limit:
            return _join(seconds / size, unit)
    return _join(seconds / 86_400, _("d"))


def _join(number: float, unit: str) -> str:
    digits = 1 if number < 9.95 else 0
    return f"{number_format(round(number, digits), digits)}\N{NO-BREAK SPACE}{unit}"
