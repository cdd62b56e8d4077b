"""The tabs above the list of operations: one for each status, with counts that stop at a cap."""

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from async_reply.admin.filters import OrderFilter, StatusFilter
from async_reply.admin.paginators import CappedPaginator
from async_reply.admin.quantities import format_count
from async_reply.status import UNFINISHED, Status


@dataclass(frozen=True)
class Tab:
    """A link to the operations in one status; `count` is '' where counting is too dear."""

    label: str
    link: str
    is_current: bool
    status: str = ""
    count: str = ""


def tabs(changelist: Any, operations: QuerySet[Any]) -> list[Tab]:
    """All operations, and each status. Those that are unfinished are counted, up to a cap."""
    name = StatusFilter.parameter_name
    current = changelist.params.get(name, "")
    removed = [OrderFilter.parameter_name]
    everything = changelist.get_query_string(remove=[name, *removed])
    result = [Tab(_("All"), everything, is_current=not current)]
    for status in Status:
        link = changelist.get_query_string({name: status.value}, remove=removed)
        count = _count(operations.filter(status=status)) if status in UNFINISHED else ""
        result.append(Tab(str(status.label), link, current == status, status.value, count))
    return result


def _count(queryset: QuerySet[Any]) -> str:
    paginator = CappedPaginator(queryset, 1)
    return format_count(paginator.count, is_exact=not paginator.is_capped)
