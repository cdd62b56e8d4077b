"""Filters of the list of operations. Their choices come from code, never from a query."""

import time
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from async_reply.status import Status
from async_reply.tasks import known_kinds

#: The value of ?created= -> the greatest age in seconds that the list shows.
AGE_SECONDS = {"hour": 3600, "day": 24 * 3600, "week": 7 * 24 * 3600}


class StatusFilter(admin.SimpleListFilter):
    title = _("status")
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(Status.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset.filter(status=value) if value else queryset


class KindFilter(admin.SimpleListFilter):
    """Offers the kinds that a worker knows. The URL may name any other kind."""

    title = _("kind")
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(name, name) for name in known_kinds()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset.filter(kind=value) if value else queryset


class CreatedFilter(admin.SimpleListFilter):
    """Filters by age. The primary key starts with the time, so no other index is needed."""

    title = _("created")
    parameter_name = "created"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("hour", _("Past hour")), ("day", _("Past 24 hours")), ("week", _("Past 7 days"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        seconds = AGE_SECONDS.get(self.value() or "")
        return queryset if seconds is None else queryset.filter(pk__gte=smallest_id(seconds))


def smallest_id(age_seconds: float) -> UUID:
    """The smallest id that an operation of at most this age can have."""
    return UUID(int=int((time.time() - age_seconds) * 1000) << 80)
