"""Locks an operation's row, or learns at once that somebody else has."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections, transaction

from async_reply.database import alias
from async_reply.models import Operation


@contextmanager
def locked(pk: Any) -> Iterator[None]:
    """A transaction that locks the row. Raises OperationalError when another one has locked it."""
    with transaction.atomic(using=alias()):
        if connections[alias()].features.has_select_for_update_nowait:
            bool(_row(pk).select_for_update(nowait=True))
        yield


def lock(pk: Any) -> bool:
    """Lock the row; False when somebody else has. True for a database that locks no rows."""
    if not connections[alias()].features.has_select_for_update_skip_locked:
        return True
    return bool(_row(pk).select_for_update(skip_locked=True))


def _row(pk: Any) -> Any:
    return Operation.objects.filter(pk=pk).values_list("pk")
