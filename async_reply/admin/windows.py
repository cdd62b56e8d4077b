"""Bounds the rows that the list of operations reads for a filter that no index answers.

Such a filter looks at the first `MAX_ROWS` rows of the list without it. The list says so.
"""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest

MAX_ROWS = 10_000
#: The columns that begin an index which ends with the id: with all of them, rows come in order.
INDEXED = frozenset(
    frozenset(columns)
    for columns in ((), ("status",), ("kind",), ("owner",), ("owner", "status"), ("owner", "kind"))
)
ATTRIBUTE = "async_reply_window"


class Window:
    """The rows of one list that its filters read."""

    def __init__(self, *, oldest_first: bool) -> None:
        self.oldest_first = oldest_first
        #: The first id beyond `MAX_ROWS`. The list leaves it out, and those that follow it.
        self.beyond: UUID | None = None
        self._columns: frozenset[str] = frozenset()
        self._is_narrow = False

    def equal(self, queryset: QuerySet[Any], column: str, value: str) -> QuerySet[Any]:
        """The rows with this value. If no index answers it, they come from a narrow window."""
        columns = self._columns | {column}
        if columns not in INDEXED:
            queryset = self.narrow(queryset)
        self._columns = columns
        return queryset.filter(**{column: value})

    def narrow(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The first `MAX_ROWS` rows. Once for a list: a second filter reads the same rows."""
        if self._is_narrow:
            return queryset
        self._is_narrow = True
        self.beyond = first_beyond(queryset, rows=MAX_ROWS, oldest_first=self.oldest_first)
        if self.beyond is None:
            return queryset
        return queryset.filter(**{"pk__lt" if self.oldest_first else "pk__gt": self.beyond})


def of(request: HttpRequest) -> Window:
    """The window of the list that this request shows."""
    window: Window | None = getattr(request, ATTRIBUTE, None)
    if window is None:
        window = Window(oldest_first=False)
        setattr(request, ATTRIBUTE, window)
    return window


def first_beyond(queryset: QuerySet[Any], *, rows: int, oldest_first: bool) -> UUID | None:
    """The id that follows the first `rows` rows in the order of ids; None if there are no more."""
    order = "pk" if oldest_first else "-pk"
    pk: UUID | None = queryset.order_by(order).values_list("pk", flat=True)[rows : rows + 1].first()
    return pk
