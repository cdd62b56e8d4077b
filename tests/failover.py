"""Makes the database read-only, as the old primary is after a failover."""

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
    """Makes this thread's connection and new connections read-only.

    It ends after `lasts` new connections, that is after so many retries, or at the end of the
    block. `opened` counts the new connections.
    """

    def __init__(self, *, lasts: float = float("inf")) -> None:
        self.lasts = lasts
        self.opened = 0
        self.has_begun = False

    def begin(self) -> None:
        connection.ensure_connection()
        self.has_begun = True
        self._make_read_only(connection)

    def _make_read_only(self, connection: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(STATEMENTS[connection.vendor])

    def count_connection(self, connection: Any, **_kwargs: Any) -> None:
        """The receiver of Django's signal for a new connection."""
        if self.has_begun and self.opened < self.lasts:
            self.opened += 1
            self._make_read_only(connection)


@contextmanager
def failover(*, lasts: float = float("inf"), begin: bool = True) -> Iterator[Failover]:
    """Make the database read-only in the block. With `begin=False`, it starts at `begin()`."""
    outage = Failover(lasts=lasts)
    connection_created.connect(outage.count_connection)
    try:
        if begin:
            outage.begin()
        yield outage
    finally:
        connection_created.disconnect(outage.count_connection)
        connection.close()
