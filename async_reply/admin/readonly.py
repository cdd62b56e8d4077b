"""The base of all pages of our admin: without forms, and with lists that suit large tables."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest

from async_reply.admin.paginators import CappedPaginator

if TYPE_CHECKING:
    Base = admin.ModelAdmin[Any]
else:
    Base = admin.ModelAdmin


class IndexedChangeList(ChangeList):
    """A list in the order of one index. The columns that may be long are not read."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        # Django obeys ?o= even where `sortable_by` is empty.
        return list(self.model_admin.get_ordering(request))

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> QuerySet[Any]:
        if any("\x00" in value for value in request.GET.values()):
            raise IncorrectLookupParameters
        deferred: tuple[str, ...] = getattr(self.model_admin, "list_deferred", ())
        return super().get_queryset(request, *args, **kwargs).defer(*deferred)


class ReadOnlyAdmin(Base):
    """Pages without forms. A subclass sets `ordering` to columns that an index serves."""

    #: The fields that the list does not read.
    list_deferred: tuple[str, ...] = ()
    change_list_template = "async_reply/admin/change_list.html"
    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return IndexedChangeList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Allows the filters of the list only.

        A lookup such as ?input__contains= scans the table. With it, an operator who may not see
        the payload could guess it.
        """
        names = [getattr(item, "parameter_name", None) for item in self.list_filter or ()]
        return lookup in names

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
