"""Filters whose choices are known without asking the table."""

import time
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from async_reply.status import Status
from async_reply.tasks import known_kinds

#: Seconds by the word in the URL.
SPANS = {"hour": 3600, "day": 24 * 3600, "week": 7 * 24 * 3600}


class StatusFilter(admin.SimpleListFilter):
    title = _("status")
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(Status.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset.filter(status=value) if value else queryset


class KindFilter(admin.SimpleListFilter):
    """The kinds a worker knows; another one can be written into the URL."""

    title = _("kind")
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(name, name) for name in known_kinds()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset.filter(kind=value) if value else queryset


class CreatedFilter(admin.SimpleListFilter):
    """Recency by the primary key, which starts with the time: no other index is needed."""

    title = _("created")
    parameter_name = "created"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("hour", _("Past hour")), ("day", _("Past 24 hours")), ("week", _("Past 7 days"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        seconds = SPANS.get(self.value() or "")
        return queryset if seconds is None else queryset.filter(pk__gte=first_id(seconds))


def first_id(seconds: float) -> UUID:
    """The smallest id that could have been made in the last `seconds`."""
    return UUID(int=int((time.time() - seconds) * 1000) << 80)
