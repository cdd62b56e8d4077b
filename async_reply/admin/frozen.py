"""Holds the list of operations as it was: parameters that an action on all operations adds.

?newest= leaves out newer operations, ?beyond= what a window left out, and ?at= is the time to which
ages refer.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from async_reply.database.clock import as_stored

#: Days before and after the frozen time that have to be times as well.
MARGIN_DAYS = 31


class NewestFilter(admin.SimpleListFilter):
    """Leaves out newer operations. The sidebar shows this filter alone, so that it can be ended."""

    title = _("state of the list")
    parameter_name = "newest"
    lookup = "pk__lte"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        value = self.value()
        return [(value, _("As it was"))] if value else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{self.lookup: _as_id(self.value())}) if self.value() else queryset


class BeyondFilter(NewestFilter):
    """Leaves out the operation with this id, and older ones."""

    parameter_name = "beyond"
    lookup = "pk__gt"


class MomentFilter(NewestFilter):
    """Filters nothing. Other filters read it by `moment_of`."""

    parameter_name = "at"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset


def moment_of(request: HttpRequest) -> float:
    """The time to which the ages of the list refer, in seconds: now, unless the list is frozen."""
    value = request.GET.get(MomentFilter.parameter_name)
    return seconds(value) if value else time.time()


def seconds(value: str) -> float:
    """The time that a URL or a form names. Raises IncorrectLookupParameters if it is none."""
    try:
        at = float(value)
        # Filters reckon with ages before this time.
        for days in (-MARGIN_DAYS, MARGIN_DAYS):
            moment(days * 24 * 3600, at=at)
        smallest_id(MARGIN_DAYS * 24 * 3600, at=at)
    except (ValueError, OverflowError, OSError) as error:
        raise IncorrectLookupParameters(error) from error
    return at


def moment(age_seconds: float, *, at: float) -> datetime:
    """The time `age_seconds` before `at`."""
    return as_stored(datetime.fromtimestamp(at, UTC) - timedelta(seconds=age_seconds))


def smallest_id(age_seconds: float, *, at: float | None = None) -> UUID:
    """The smallest id that an operation of at most this age can have."""
    seconds = time.time() if at is None else at
    return UUID(int=int((seconds - age_seconds) * 1000) << 80)


def _as_id(value: str | None) -> UUID:
    try:
        return UUID(value)
    except ValueError as error:
        raise IncorrectLookupParameters(error) from error
