"""Counts the rows of a list at a cost that does not grow with the table."""

from typing import TYPE_CHECKING, Any, cast

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.utils.functional import cached_property

if TYPE_CHECKING:
    Base = Paginator[Any]
else:
    Base = Paginator


class CappedPaginator(Base):
    """Counts and pages through the first `cap` rows; `is_capped` says that there are more."""

    cap = 10_000

    @cached_property
    def count(self) -> int:
        return min(self._count_up_to_cap, self.cap)

    @property
    def is_capped(self) -> bool:
        return self._count_up_to_cap > self.cap

    @cached_property
    def _count_up_to_cap(self) -> int:
        return count_up_to(cast("QuerySet[Any]", self.object_list), self.cap + 1)


def count_up_to(queryset: QuerySet[Any], most: int) -> int:
    """The number of rows. The database stops counting at `most`.

    It counts in the order of an index. Without an order, PostgreSQL may scan the table, and read
    most of it if the rows that match came last.
    """
    return queryset.order_by("-pk").values("pk")[:most].count()
