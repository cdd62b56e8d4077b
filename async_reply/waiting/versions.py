"""Finds the operations whose version has changed since a client last saw them."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import connections

from async_reply.database import alias, arrays
from async_reply.models import Operation

#: Ids in one statement, on databases other than PostgreSQL.
CHUNK_IDS = 500


class Seen:
    """Versions by the ids of their operations, with the parameters of the statement about them.

    Waiting clients come and go less often than the thread looks, so the parameters are kept.
    """

    def __init__(self, versions: Mapping[UUID, int]) -> None:
        self.versions = dict(versions)
        self._parameters: list[Any] | None = None

    def parameters(self, *, is_binary: bool) -> list[Any]:
        """For PostgreSQL: the ids and the versions, as two arrays."""
        if self._parameters is None:
            make = arrays.binary if is_binary else arrays.text
            self._parameters = make(list(self.versions), list(self.versions.values()))
        return self._parameters


def changed(seen: Seen) -> set[UUID]:
    """The operations whose row has another version than `seen` says, or is deleted."""
    if connections[alias()].vendor == "postgresql":
        return _changed_on_postgresql(seen)
    current: dict[UUID, int] = {}
    pks = list(seen.versions)
    for start in range(0, len(pks), CHUNK_IDS):
        rows = Operation.objects.filter(pk__in=pks[start : start + CHUNK_IDS])
        current.update(rows.values_list("pk", "version"))
    return {pk for pk, version in seen.versions.items() if current.get(pk) != version}


def _changed_on_postgresql(seen: Seen) -> set[UUID]:
    """The server compares the versions, so it returns no rows while nothing happens.

    The subquery makes it use the primary key. For a join it reads the whole table: with 100,000
    rows that takes 40 ms instead of 8.
    """
    from django.db.backends.postgresql.psycopg_any import is_psycopg3

    connection: Any = connections[alias()]
    table = connection.ops.quote_name(Operation._meta.db_table)
    statement = (
        "SELECT seen.id FROM unnest(%s::uuid[], %s::int[]) AS seen(id, version) "  # noqa: S608
        f"WHERE (SELECT stored.version FROM {table} AS stored WHERE stored.id = seen.id) "
        "IS DISTINCT FROM seen.version"
    )
    with arrays.cursor(connection) if is_psycopg3 else connection.cursor() as cursor:
        cursor.execute(statement, seen.parameters(is_binary=is_psycopg3))
        return {pk for (pk,) in cursor.fetchall()}
