"""Which of many operations are no longer at the version that is known of them.

One statement for all of them; and where the database can tell, none but a word with it for as long
as nobody has written anything.
"""

import time
from typing import Any
from uuid import UUID

from django.db import connections

from async_reply.database import alias
from async_reply.models import Operation

Versions = dict[UUID, int]

CHUNK = 500
#: What says the same again only if no transaction has become visible in between: PostgreSQL's is
#: all that decides what is, SQLite's counts what other connections commit.
UNWRITTEN = {
    "postgresql": "SELECT pg_current_snapshot()::text",
    "sqlite": "PRAGMA data_version",
}
#: Seconds for which the word is taken: servers that only speak PostgreSQL's protocol may say the
#: same whatever is written.
TRUST = 5.0


class Lookout:
    """One thread's look at what it knows; `known` must be another object once it has changed."""

    def __init__(self) -> None:
        self._known: Versions = {}
        self._arrays: list[str] = []
        #: The connection and what it said before nothing had moved.
        self._calm: tuple[Any, Any] | None = None
        self._calm_until = 0.0

    def moved(self, known: Versions) -> set[UUID]:
        """Those whose row has another version than is known, or is gone."""
        if self._known is not known:
            self._known, self._arrays, self._calm = known, _arrays(known), None
        said = _unwritten()
        if said is not None and said == self._calm and time.monotonic() < self._calm_until:
            return set()
        found = self._differing()
        self._calm = None if found else said
        self._calm_until = time.monotonic() + TRUST
        return found

    def _differing(self) -> set[UUID]:
        if connections[alias()].vendor == "postgresql":
            return _differing_on_postgresql(self._arrays)
        found: Versions = {}
        pks = list(self._known)
        for start in range(0, len(pks), CHUNK):
            rows = Operation.objects.filter(pk__in=pks[start : start + CHUNK])
            found.update(rows.values_list("pk", "version"))
        return {pk for pk, version in self._known.items() if found.get(pk) != version}


def _unwritten() -> tuple[Any, Any] | None:
    """The connection and its word for what has been written; None where it has none."""
    connection = connections[alias()]
    statement = UNWRITTEN.get(connection.vendor)
    if statement is None:
        return None
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return connection.connection, cursor.fetchone()


def _differing_on_postgresql(arrays: list[str]) -> set[UUID]:
    """Compared by the server: nothing comes back while nothing happens."""
    connection = connections[alias()]
    table = connection.ops.quote_name(Operation._meta.db_table)
    statement = (
        "SELECT known.id FROM unnest(%s::uuid[], %s::int[]) AS known(id, version) "  # noqa: S608
        f"LEFT JOIN {table} AS found USING (id) "
        "WHERE found.version IS DISTINCT FROM known.version"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, arrays)
        return {pk for (pk,) in cursor.fetchall()}


def _arrays(known: Versions) -> list[str]:
    """Ids and versions as PostgreSQL writes arrays."""
    columns = [pk.hex for pk in known], [str(version) for version in known.values()]
    return ["{" + ",".join(each) + "}" for each in columns]
