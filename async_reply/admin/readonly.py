"""What all our pages share: nothing to edit, and lists that stay flat as tables grow."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest

from async_reply.admin.paginators import CappedPaginator

if TYPE_CHECKING:
    Base = admin.ModelAdmin[Any]
else:
    Base = admin.ModelAdmin


class FlatChangeList(ChangeList):
    """Ordered by an index alone, without the columns that may be long."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        # Django honours ?o= whatever sortable_by says.
        return list(self.model_admin.get_ordering(request))

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> QuerySet[Any]:
        deferred: tuple[str, ...] = getattr(self.model_admin, "list_deferred", ())
        return super().get_queryset(request, *args, **kwargs).defer(*deferred)


class ReadOnlyAdmin(Base):
    """Pages to look at; subclasses name `ordering`, which an index must serve."""

    #: Fields the list does not read.
    list_deferred: tuple[str, ...] = ()
    change_list_template = "async_reply/admin/change_list.html"
    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return FlatChangeList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Only the filters shown: ?input__contains= would scan the table and guess at secrets."""
        return any(
            lookup == getattr(each, "parameter_name", None) for each in self.list_filter or ()
        )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
