"""The times that the dashboard can show. Each ends now."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from async_reply.admin import filters


@dataclass(frozen=True)
class Span:
    """A time until now."""

    name: str
    label: Any
    over: timedelta
    #: How the start of a step is written.
    format: str
    #: False: steps are days of UTC.
    is_local: bool = True

    @property
    def parameters(self) -> dict[str, str]:
        """The filter by which the list shows what finished in this time; {} if it has none."""
        is_known = self.name in filters.AGE_SECONDS
        return {filters.FinishedFilter.parameter_name: self.name} if is_known else {}

    def label_of(self, start: datetime) -> str:
        """The text of a step that starts at this time."""
        zone = timezone.get_current_timezone() if self.is_local else UTC
        return start.astimezone(zone).strftime(self.format)


_LABELS = {**dict(filters.AGES), "month": _("Past 30 days")}

SPANS = {
    span.name: span
    for span in (
        Span("hour", _LABELS["hour"], timedelta(hours=1), "%H:%M"),
        Span("day", _LABELS["day"], timedelta(days=1), "%H:%M"),
        Span("week", _LABELS["week"], timedelta(days=7), "%m-%d %H:%M"),
        Span("month", _LABELS["month"], timedelta(days=30), "%Y-%m-%d", is_local=False),
    )
}
DEFAULT_SPAN = "day"
