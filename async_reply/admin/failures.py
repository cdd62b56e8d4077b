"""Shows operators which failures there are: by kind, code of the error and class of exception."""

import time
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import Count, F, Max
from django.db.models.fields.json import KT
from django.http import HttpRequest, HttpResponse, QueryDict
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext as _

from async_reply.admin import columns, filters, frozen, windows
from async_reply.admin.bulk import BulkCommands
from async_reply.admin.commands import DELETE, RERUN, Command
from async_reply.admin.moments import EMPTY
from async_reply.status import Status

#: The most groups that the page shows, the largest ones.
MAX_GROUPS = 100
DEFAULT_AGE = "day"


@dataclass(frozen=True)
class Group:
    """Failures of one kind with one code and one exception."""

    kind: str
    code: str
    exception: str
    count: int
    last: Any
    #: The list of these operations.
    link: str
    commands: list[tuple[Command, str]]

    @property
    def dotted_kind(self) -> str:
        return columns.dotted(self.kind)

    @property
    def dotted_exception(self) -> str:
        return columns.dotted(self.exception or EMPTY)


class FailureGroups(BulkCommands):
    """The page of failures, with links to the list, and commands for each group."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.failures_view)
        route = path("failures/", view, name="async_reply_operation_failures")
        return [route, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        context = {"failures_link": self.url_of("failures"), **(extra_context or {})}
        return super().changelist_view(request, context)

    def failures_view(self, request: HttpRequest) -> HttpResponse:
        """Groups the failures of the past hour, day or week, as far as a window reaches."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        age = request.GET.get(filters.FinishedFilter.parameter_name, DEFAULT_AGE)
        if age not in filters.AGE_SECONDS:
            age = DEFAULT_AGE
        rows, is_cut = self._failures(request, age)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Failures"),
            "subtitle": None,
            "opts": self.opts,
            "list_link": self.url_of("changelist"),
            "ages": [(value, label, value == age) for value, label in filters.AGES],
            "groups": [self._group(request, age, row) for row in rows[:MAX_GROUPS]],
            "has_more": len(rows) > MAX_GROUPS,
            "max_groups": MAX_GROUPS,
            "is_cut": is_cut,
            "window_rows": windows.MAX_ROWS,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "async_reply/admin/failures.html", context)

    def _failures(self, request: HttpRequest, age: str) -> tuple[list[Any], bool]:
        """The groups, the largest first, and whether there are more failures than were read."""
        window = windows.Window(oldest_first=False)
        failed = window.equal(self.get_queryset(request), "status", Status.FAILED)
        since = frozen.moment(filters.AGE_SECONDS[age], at=time.time())
        groups = (
            filters.with_last_attempt(window.narrow(failed))
            .filter(finished_at__gte=since, deleted_at=None)
            .annotate(code=KT("error__code"), exception=F("last_attempt__exception"))
            .order_by()
            .values("kind", "code", "exception")
            .annotate(count=Count("pk"), last=Max("finished_at"))
            .order_by("-count", "kind")
        )
        return list(groups[: MAX_GROUPS + 1]), window.beyond is not None

    def _group(self, request: HttpRequest, age: str, row: Any) -> Group:
        query = QueryDict(mutable=True)
        query["status"] = Status.FAILED.value
        query["kind"] = row["kind"]
        query["finished"] = age
        query["code"] = row["code"] or ""
        query["exception"] = row["exception"] or ""
        commands = [
            (command, link)
            for command, link in self.bulk_links(request, query)
            if command in (RERUN, DELETE)
        ]
        return Group(
            kind=row["kind"],
            code=row["code"] or "",
            exception=row["exception"] or "",
            count=row["count"],
            last=row["last"],
            link=f"{self.url_of('changelist')}?{query.urlencode()}",
            commands=commands,
        )
