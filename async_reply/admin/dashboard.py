"""Shows operators what waits and runs now, and what finished over a span, on a page that refreshes.

The browser asks for each part of the page anew. A part is HTML and SVG, drawn here.
"""

from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext as _

from async_reply.admin import current_state, kind_figures
from async_reply.admin.failures import FailureGroups
from async_reply.admin.spans import DEFAULT_SPAN, SPANS

#: The parts of the page, and the seconds after which the browser asks for each of them again.
#: Workers count what has finished each half minute.
PARTS = {"now": 5, "figures": 30}
MAX_KIND_CHARACTERS = 200


class Dashboard(FailureGroups):
    """The dashboard. The list of operations and the index of the app lead to it."""

    def has_dashboard_permission(self, request: HttpRequest) -> bool:
        """Whether this user sees the dashboard, which counts the operations of all owners."""
        return self.has_view_permission(request)

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        name = "async_reply_operation_dashboard"
        return [
            path("dashboard/", wrap(self.dashboard_view), name=name),
            path("dashboard/<str:part>/", wrap(self.part_view), name=f"{name}_part"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        link = self.url_of("dashboard") if self.has_dashboard_permission(request) else ""
        context = {"dashboard_link": link, **(extra_context or {})}
        return super().changelist_view(request, context)

    def dashboard_view(self, request: HttpRequest) -> HttpResponse:
        """The whole page. Without JavaScript it shows what was true when it was loaded."""
        self._check(request)
        query = self._query(request)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Dashboard"),
            "subtitle": None,
            "opts": self.opts,
            "list_link": self.url_of("changelist"),
            "all_kinds_link": f"?{urlencode({'span': query['span']})}",
            "spans": [
                (f"?{urlencode({**query, 'span': name})}", span.label, name == query["span"])
                for name, span in SPANS.items()
            ],
            "parts": [
                (
                    f"async_reply/admin/dashboard_{name}.html",
                    f"{self.url_of('dashboard_part', name)}?{urlencode(query)}",
                    seconds,
                )
                for name, seconds in PARTS.items()
            ],
            **self._now(request),
            **self._figures(request),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "async_reply/admin/dashboard.html", context)

    def part_view(self, request: HttpRequest, part: str) -> HttpResponse:
        """One part of the page as HTML."""
        self._check(request)
        if part not in PARTS:
            raise Http404
        context = self._now(request) if part == "now" else self._figures(request)
        return TemplateResponse(request, f"async_reply/admin/dashboard_{part}.html", context)

    def _check(self, request: HttpRequest) -> None:
        if not self.has_dashboard_permission(request):
            raise PermissionDenied

    def _query(self, request: HttpRequest) -> dict[str, str]:
        """The span and the kind that the request chooses."""
        span = request.GET.get("span", "")
        kind = request.GET.get("kind", "")[:MAX_KIND_CHARACTERS]
        chosen = {"span": span if span in SPANS else DEFAULT_SPAN}
        return {**chosen, "kind": kind} if kind else chosen

    def _now(self, request: HttpRequest) -> dict[str, Any]:
        worker_permission = f"{self.opts.app_label}.view_worker"
        state = current_state.read(
            list_link=self._list_link,
            page_link=self.page_url,
            shows_workers=request.user.has_perm(worker_permission),
        )
        return {"state": state}

    def _figures(self, request: HttpRequest) -> dict[str, Any]:
        query = self._query(request)
        span = SPANS[query["span"]]

        def kind_link(kind: str) -> str:
            chosen = urlencode({"span": span.name, "kind": kind})
            return f"{self.url_of('dashboard')}?{chosen}"

        kind = query.get("kind", "")
        report = kind_figures.read(span, kind=kind, list_link=self._list_link, kind_link=kind_link)
        return {"report": report, "span": span, "kind": kind}

    def _list_link(self, **parameters: str) -> str:
        return f"{self.url_of('changelist')}?{urlencode(parameters)}"
