"""Counting that costs the same whatever the size of the table."""

from typing import TYPE_CHECKING, Any, cast

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.utils.functional import cached_property

if TYPE_CHECKING:
    Base = Paginator[Any]
else:
    Base = Paginator


class CappedPaginator(Base):
    """Counts and pages through the first `cap` rows; `capped` says that there are more."""

    cap = 10_000

    @cached_property
    def count(self) -> int:
        return min(self._counted, self.cap)

    @property
    def capped(self) -> bool:
        return self._counted > self.cap

    @cached_property
    def _counted(self) -> int:
        """At most one more than `cap`: the LIMIT stands inside the count."""
        queryset = cast("QuerySet[Any]", self.object_list)
        return queryset.order_by().values("pk")[: self.cap + 1].count()
