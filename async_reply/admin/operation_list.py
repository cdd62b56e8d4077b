"""Shows operators the list of operations: its columns, tabs, filters and search."""

from typing import Any, cast

from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from async_reply.admin import columns, filters, frozen, searches, windows
from async_reply.admin.actions import OperationActions
from async_reply.admin.readonly import IndexedChangeList
from async_reply.admin.tabs import Tab, tabs
from async_reply.models import Operation
from async_reply.status import Status

#: The attribute of a request that needs all rows of a list, and no page of it.
WITHOUT_PAGE = "async_reply_without_page"


class OperationChangeList(IndexedChangeList):
    """The rows of one page, with tabs. A filter without an index reads a window of the list."""

    tabs: list[Tab]
    window: windows.Window
    #: The query string of the same list without its search.
    without_search: str

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> QuerySet[Any]:
        is_descending = filters.ordering(request)[0].startswith("-")
        self.window = windows.Window(oldest_first=not is_descending)
        setattr(request, windows.ATTRIBUTE, self.window)
        return super().get_queryset(request, *args, **kwargs)

    def get_results(self, request: HttpRequest) -> None:
        if getattr(request, WITHOUT_PAGE, False):
            return
        super().get_results(request)
        # A filter without an index would read its window once more, and find nothing again.
        rows = list(columns.with_errors(self.result_list)) if self.result_count else []
        model_admin: Any = self.model_admin
        model_admin.describe_owners(request, rows)
        columns.with_queues(rows)
        self.result_list = rows
        self.tabs = tabs(self, self.root_queryset)
        self.without_search = self.get_query_string(remove=[SEARCH_VAR])


class OperationList(OperationActions):
    """The list of operations."""

    list_display = (
        "short_id",
        "state",
        "kind_and_queue",
        "person",
        "age",
        "wait",
        "run_time",
    )
    # The first three come first because a window is a part of what they leave.
    list_filter = (
        frozen.NewestFilter,
        frozen.BeyondFilter,
        frozen.MomentFilter,
        filters.AttentionFilter,
        filters.CreatedFilter,
        filters.OwnerFilter,
        filters.StatusFilter,
        filters.OrderFilter,
        filters.KindFilter,
        filters.QueueFilter,
        filters.FinishedFilter,
        filters.CodeFilter,
        filters.ExceptionFilter,
    )
    list_deferred = ("input", "error", "extra", "reply")
    list_select_related = False
    # Rows take most of the time of the page: a hundred of them are too many for 100 ms.
    list_per_page = 50
    ordering = ("-id",)
    # Django shows the search box if this is not empty; get_search_results does the search.
    search_fields = ("id",)
    search_help_text = searches.HELP
    change_list_template = "async_reply/admin/operation_list.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[OperationChangeList]:
        return OperationChangeList

    def get_whole_list(self, request: HttpRequest) -> OperationChangeList:
        """The list with its filters. Neither a page of it nor its length is read."""
        setattr(request, WITHOUT_PAGE, True)
        return cast("OperationChangeList", self.get_changelist_instance(request))

    def get_ordering(self, request: HttpRequest) -> Any:
        return filters.ordering(request)

    def get_list_filter(self, request: HttpRequest) -> Any:
        """The filters in the order in which they read the table: succeeded operations come last.

        The index on kinds finds them sooner than the index on statuses.
        """
        listed = list(super().get_list_filter(request))
        if request.GET.get(filters.StatusFilter.parameter_name) == Status.SUCCEEDED:
            listed.sort(key=lambda item: item is filters.StatusFilter)
        return listed

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        if "\x00" in term:
            # Django's view of autocompletion asks too. PostgreSQL refuses such a text.
            return queryset.none(), False
        owner = request.GET.get(filters.OwnerFilter.parameter_name, "")
        owners = [] if owner else _access(request).find_owners(term)
        window = windows.of(request)
        found = searches.condition(queryset, term, window=window, owners=owners, owner=owner)
        return queryset.filter(found), False

    def describe_owners(self, request: HttpRequest, operations: list[Any]) -> None:
        """Add the text and the link of its owner to each operation."""
        access = _access(request)
        names = {operation.owner for operation in operations} - {""}
        access.prepare_owners(names)
        described = {name: access.describe_owner(name) for name in names}
        for operation in operations:
            operation.described_owner = described.get(operation.owner, ("", ""))

    @admin.display(description=_("id"))
    def short_id(self, operation: Operation) -> str:
        """The random end of the id. Ids that were made in one hour start alike."""
        return format_html('<span title="{}">{}</span>', operation.pk, str(operation.pk)[-8:])

    @admin.display(description=_("status"))
    def state(self, operation: Operation) -> str:
        """The status, with what belongs to it: progress, delayed start, "deleted", the error."""
        return format_html("{}{}", columns.badge(operation), columns.error(operation))

    @admin.display(description=_("kind"))
    def dotted_kind(self, operation: Operation) -> str:
        return columns.dotted(operation.kind)

    @admin.display(description=_("kind and queue"))
    def kind_and_queue(self, operation: Operation) -> str:
        cell = '{}<div class="async-reply-quiet">{}</div>'
        return format_html(
            cell, columns.dotted(operation.kind), columns.dotted(columns.queue(operation))
        )

    @admin.display(description=_("owner"))
    def person(self, operation: Operation) -> str:
        return columns.owner(operation)

    @admin.display(description=_("age"))
    def age(self, operation: Operation) -> str:
        return columns.age(operation)

    @admin.display(description=_("wait"))
    def wait(self, operation: Operation) -> str:
        return columns.wait(operation)

    @admin.display(description=_("run time"))
    def run_time(self, operation: Operation) -> str:
        return columns.run_time(operation)


def _access(request: HttpRequest) -> Any:
    # REST framework is imported by the first request, and not by workers that import the admin.
    from async_reply import permissions

    return permissions.access(request)
