"""Formats counts, shares and durations, and links them to the list of their operations."""

from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from async_reply.admin.moments import EMPTY
from async_reply.estimates import wording


def format_count(number: int, *, is_exact: bool = True) -> str:
    """A number with separators; a plus says that there are more."""
    text = number_format(number, use_l10n=True, force_grouping=True)
    return text if is_exact else f"{text}+"


def format_number(number: float) -> str:
    """A number with about two digits, if it is not whole: `0.25`, `3.1`, `5`, `1,200`."""
    digits = 2 if number < 1 else 1 if number < 10 else 0
    number = round(number, digits)
    digits = 0 if number == int(number) else digits
    return number_format(number, digits, use_l10n=True, force_grouping=True)


def format_percent(percent: float | None) -> str:
    if percent is None:
        return EMPTY
    return f"{format_number(percent)}\N{NO-BREAK SPACE}%"


def format_seconds(seconds: float | None) -> str:
    """`20 ms`, `3.2 s`, `12 min`."""
    if seconds is None:
        return EMPTY
    if 0 < seconds < 1:
        milliseconds = _("ms")  # the collection of texts does not see into an f-string
        return f"{format_number(seconds * 1000)}\N{NO-BREAK SPACE}{milliseconds}"
    return wording.duration(seconds)


def format_power(seconds: float) -> str:
    """A power of ten: `100 ms`, `1 s`, `1,000 s`."""
    if seconds < 1:
        return format_seconds(seconds)
    unit = _("s")
    return f"{format_count(round(seconds))}\N{NO-BREAK SPACE}{unit}"


def linked(text: str, link: str = "") -> SafeString | str:
    """The text, as a link if there is one."""
    return format_html('<a href="{}">{}</a>', link, text) if link else text
