"""A database that is read-only, as the old primary of a failover and a standby are."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection
from django.db.backends.signals import connection_created

STATEMENTS = {
    "postgresql": "SET default_transaction_read_only = on",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "sqlite": "PRAGMA query_only = 1",
}


class Failover:
    """While it lasts, this thread's connection and all new ones are read-only.

    It ends when `lasts` connections were opened during it, which is how often somebody tried
    again, or at the end of the block.
    """

    def __init__(self, *, lasts: float = float("inf")) -> None:
        self.lasts = lasts
        self.opened = 0
        self.began = False

    def begin(self) -> None:
        connection.ensure_connection()
        self.began = True
        self._refuse(connection)

    def _refuse(self, opened: Any) -> None:
        with opened.cursor() as cursor:
            cursor.execute(STATEMENTS[opened.vendor])

    def hear(self, connection: Any, **_kwargs: Any) -> None:
        if self.began and self.opened < self.lasts:
            self.opened += 1
            self._refuse(connection)


@contextmanager
def failover(*, lasts: float = float("inf"), begin: bool = True) -> Iterator[Failover]:
    """Read-only until the end of the block; `begin=False`: once its `begin` is called."""
    made = Failover(lasts=lasts)
    connection_created.connect(made.hear)
    try:
        if begin:
            made.begin()
        yield made
    finally:
        connection_created.disconnect(made.hear)
        connection.close()
