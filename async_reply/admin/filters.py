"""Filters of the list of operations. Their choices come from code, never from a query.

A filter without an index reads a window of the list: see `windows`.
"""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ERROR_FLAG, PAGE_VAR
from django.db.models import F, FilteredRelation, Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from async_reply.admin import attention, windows
from async_reply.admin.frozen import moment, moment_of, smallest_id
from async_reply.publishing import routing
from async_reply.status import Status
from async_reply.tasks import known_kinds

#: The value of ?created= and ?finished= -> the greatest age in seconds that the list shows.
AGE_SECONDS = {"hour": 3600, "day": 24 * 3600, "week": 7 * 24 * 3600}
AGES = [("hour", _("Past hour")), ("day", _("Past 24 hours")), ("week", _("Past 7 days"))]


class StatusFilter(admin.SimpleListFilter):
    """The tabs of the list show its choices."""

    title = _("status")
    parameter_name = "status"
    template = "async_reply/admin/filter_in_tabs.html"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(Status.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return windows.of(request).equal(queryset, "status", value) if value else queryset


class KindFilter(admin.SimpleListFilter):
    """Offers the kinds that a worker knows. The URL may name any other kind."""

    title = _("kind")
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(name, name) for name in known_kinds()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return windows.of(request).equal(queryset, "kind", value) if value else queryset


class TextFilter(admin.SimpleListFilter):
    """A filter whose value is typed. Its form keeps the other filters."""

    template = "async_reply/admin/text_filter.html"

    def has_output(self) -> bool:
        return True

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return []

    def choices(self, changelist: Any) -> Iterator[Any]:
        dropped = (self.parameter_name, PAGE_VAR, ERROR_FLAG)
        parameters = changelist.filter_params.items()
        kept = [(name, value) for name, values in parameters for value in values]
        yield {
            "value": self.value() or "",
            "parameter": self.parameter_name,
            "hidden": [(name, value) for name, value in kept if name not in dropped],
            "without": changelist.get_query_string(remove=[self.parameter_name]),
        }


class OwnerFilter(TextFilter):
    title = _("owner")
    parameter_name = "owner"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return windows.of(request).equal(queryset, "owner", value) if value else queryset


class QueueFilter(admin.SimpleListFilter):
    """Offers the queues to which Celery's routes send the known kinds."""

    title = _("queue")
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        names = {queue for queue in _queue_of_kinds().values() if queue}
        return [(name, name) for name in sorted(names | {self.value() or ""} - {""})]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if not value:
            return queryset
        # The row of an operation without a queue of its own follows the routes of its kind.
        routed = [kind for kind, queue in _queue_of_kinds().items() if queue == value]
        condition = Q(queue=value) | Q(queue="", kind__in=routed)
        return windows.of(request).narrow(queryset).filter(condition)


class CodeFilter(TextFilter):
    title = _("code of the error")
    parameter_name = "code"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if not value:
            return queryset
        window = windows.of(request)
        # No other operation has an error.
        failed = window.equal(queryset, "status", Status.FAILED)
        return window.narrow(failed).filter(error__code=value)


class ExceptionFilter(admin.SimpleListFilter):
    """The class of the exception that ended the last attempt. The page of failures links it."""

    title = _("exception")
    parameter_name = "exception"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        value = self.value()
        return [(value, value or _("none"))] if value is not None else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value is None:
            return queryset
        rows = with_last_attempt(windows.of(request).narrow(queryset))
        # An operation that no worker knows, or that was lost, has no exception.
        none = Q() if value else Q(last_attempt__exception=None)
        matching: QuerySet[Any] = rows.filter(Q(last_attempt__exception=value) | none)
        return matching


class CreatedFilter(admin.SimpleListFilter):
    """Filters by age. The primary key starts with the time, so no other index is needed."""

    title = _("created")
    parameter_name = "created"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [*AGES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        seconds = AGE_SECONDS.get(self.value() or "")
        if seconds is None:
            return queryset
        return queryset.filter(pk__gte=smallest_id(seconds, at=moment_of(request)))


class FinishedFilter(admin.SimpleListFilter):
    """Filters by the time of the outcome."""

    title = _("finished")
    parameter_name = "finished"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [*AGES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        seconds = AGE_SECONDS.get(self.value() or "")
        if seconds is None:
            return queryset
        since = moment(seconds, at=moment_of(request))
        return windows.of(request).narrow(queryset).filter(finished_at__gte=since)


class AttentionFilter(admin.SimpleListFilter):
    """The operations that somebody should look at."""

    title = _("attention")
    parameter_name = "attention"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(name, rule.label) for name, rule in attention.RULES.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        rule = attention.RULES.get(self.value() or "")
        return queryset if rule is None else queryset.filter(pk__in=rule.ids())


class OrderFilter(admin.SimpleListFilter):
    """The orders that an index answers. Two of them belong to one status."""

    title = pgettext_lazy("list", "order")
    parameter_name = "order"
    #: Value -> label, status, and columns.
    orders: Any = {
        "oldest": (_("Oldest first"), None, ("id",)),
        "waiting": (_("Oldest waiting"), Status.PENDING, ("id",)),
        "longest": (_("Longest running"), Status.RUNNING, ("started_at", "id")),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(value, label) for value, (label, _status, _columns) in self.orders.items()]

    def choices(self, changelist: Any) -> Iterator[Any]:
        current = self.value()
        without = changelist.get_query_string(remove=[self.parameter_name])
        yield {"selected": not current, "query_string": without, "display": _("Newest first")}
        for value, (label, status, _columns) in self.orders.items():
            chosen = {self.parameter_name: value} | ({"status": status.value} if status else {})
            link = changelist.get_query_string(chosen)
            yield {"selected": current == value, "query_string": link, "display": label}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        is_sorted = ordering(request)[0] not in ("id", "-id")
        return windows.of(request).narrow(queryset) if is_sorted else queryset


def ordering(request: HttpRequest) -> tuple[str, ...]:
    """The columns by which the list is ordered; those of another status than the list's are not."""
    value = request.GET.get(OrderFilter.parameter_name, "")
    _label, status, columns = OrderFilter.orders.get(value, ("", None, ("-id",)))
    is_possible = status is None or request.GET.get(StatusFilter.parameter_name) == status
    return columns if is_possible else ("-id",)


def with_last_attempt(queryset: QuerySet[Any]) -> QuerySet[Any]:
    """Join the row of the last attempt, as `last_attempt`, if there is one.

    A subquery for each row would cost more than PostgreSQL's limit for compiling a statement.
    """
    is_last = Q(attempts__number=F("attempt"))
    joined: QuerySet[Any] = queryset.alias(
        last_attempt=FilteredRelation("attempts", condition=is_last)
    )
    return joined


def _queue_of_kinds() -> dict[str, str]:
    return {kind: routing.route_or_unknown(kind).queue for kind in known_kinds()}
