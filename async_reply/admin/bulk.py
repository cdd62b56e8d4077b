"""Gives a command to all operations of a list, on every page: asks first, then submits a job.

The list is frozen at the question: its filters, its newest id and the time. `bulk_job` does it.
"""

import time
from typing import Any

from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ALL_VAR, ERROR_FLAG, ORDER_VAR, PAGE_VAR, SEARCH_VAR
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import URLPattern, path
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from async_reply import services
from async_reply.admin import bulk_job, filters, frozen, reruns, windows
from async_reply.admin.commands import BULK_COMMANDS, Command
from async_reply.admin.operation_list import OperationList
from async_reply.admin.paginators import count_up_to
from async_reply.database import payloads
from async_reply.exceptions import OperationGone
from async_reply.services.idempotency import IdempotencyKey

#: The question counts up to this number.
MAX_COUNTED = 30_000
#: Parameters of the page, and not of the list.
OF_PAGE = (PAGE_VAR, ALL_VAR, ERROR_FLAG, ORDER_VAR, filters.OrderFilter.parameter_name)


class BulkCommands(OperationList):
    """The list of operations, with commands for all operations that it shows."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.bulk_view)
        route = path("bulk/<str:name>/", view, name="async_reply_operation_bulk")
        return [route, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        context = {
            "bulk_links": self.bulk_links(request, request.GET),
            "window_rows": windows.MAX_ROWS,
            **reruns.context(),
            **(extra_context or {}),
        }
        return super().changelist_view(request, context)

    def bulk_links(self, request: HttpRequest, query: QueryDict) -> list[tuple[Command, str]]:
        """The commands that this user may give to all operations of the list with this query."""
        kept = query.copy()
        for name in OF_PAGE:
            kept.pop(name, None)
        return [
            (command, f"{self.url_of('bulk', command.name)}?{kept.urlencode()}")
            for command in BULK_COMMANDS.values()
            if self.has_command_permission(request, command)
        ]

    def bulk_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """Asks, with the number of operations; a confirmed POST submits the job."""
        if name not in BULK_COMMANDS:
            raise Http404
        command = BULK_COMMANDS[name]
        if not (
            self.has_view_permission(request) and self.has_command_permission(request, command)
        ):
            raise PermissionDenied
        try:
            count = self._freeze(request)
        except IncorrectLookupParameters:
            return HttpResponseRedirect(f"{self.url_of('changelist')}?{ERROR_FLAG}=1")
        if request.method == "POST" and "confirmed" in request.POST:
            return self._submit(request, command, count)
        return self._ask(
            request,
            command,
            back=f"{self.url_of('changelist')}?{request.GET.urlencode()}",
            target=_all(count),
            action=f"{self.url_of('bulk', command.name)}?{request.GET.urlencode()}",
            note=_(
                "A worker does it, as an operation of its own, which can be canceled. Operations "
                "that are submitted from now on are left out."
            ),
        )

    def _freeze(self, request: HttpRequest) -> int:
        """Fix the list in `request.GET`, unless it is fixed; returns the number of its rows."""
        query = request.GET.copy()
        for name in OF_PAGE:
            query.pop(name, None)
        if frozen.NewestFilter.parameter_name not in query:
            newest = self.get_queryset(request).order_by("-pk").values_list("pk", flat=True).first()
            # An empty table has no newest id: the smallest one leaves out all that come.
            query[frozen.NewestFilter.parameter_name] = str(newest or frozen.smallest_id(0))
            query[frozen.MomentFilter.parameter_name] = f"{time.time():.3f}"
        request.GET = query  # type: ignore[assignment]  # Django's own tests do so
        changelist = self.get_whole_list(request)
        if changelist.window.beyond is not None:
            query[frozen.BeyondFilter.parameter_name] = str(changelist.window.beyond)
        return count_up_to(changelist.queryset, MAX_COUNTED + 1)

    def _submit(self, request: HttpRequest, command: Command, count: int) -> HttpResponse:
        query = request.GET.urlencode()
        values = {
            "command": command.name,
            "site": self.admin_site.name,
            "query": query,
            "user": str(request.user.pk),
        }
        # The query has the time of the question. A second click answers the same question.
        digest = payloads.digest(bulk_job.run.name, values)
        try:
            operation = services.submit(
                bulk_job.run, input=values, key=IdempotencyKey(digest, fingerprint=digest)
            )
        except OperationGone:
            text = _("This command was given already: ask for it in the list once more.")
            self.message_user(request, text, messages.WARNING)
            return HttpResponseRedirect(self.url_of("changelist"))
        text = f"{command.label}: {_all(count)} (?{_without_search(request.GET)})."
        self.log_change(request, operation, text)
        text = _("A worker does it now. This page shows how far it is.")
        self.message_user(request, text, messages.SUCCESS)
        return HttpResponseRedirect(self.page_url(operation.pk))


def _without_search(query: QueryDict) -> str:
    """The query string for the history, which all staff see: the text may be a client's key."""
    shown = query.copy()
    if SEARCH_VAR in shown:
        shown[SEARCH_VAR] = "***"
    return shown.urlencode(safe="*")


def _all(count: int) -> str:
    if count > MAX_COUNTED:
        number = number_format(MAX_COUNTED, use_l10n=True, force_grouping=True)
        return _("more than %(number)s operations") % {"number": number}
    number = number_format(count, use_l10n=True, force_grouping=True)
    return ngettext("%(number)s operation", "%(number)s operations", count) % {"number": number}
