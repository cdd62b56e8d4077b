"""Finds the operations that have changed since a client last saw them."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import connections

from async_reply.database import alias, arrays
from async_reply.models import Operation

#: Ids in one statement, on databases other than PostgreSQL.
CHUNK_IDS = 500


#: The number of events where nobody reads the log: it is not compared.
NOT_READ = -1


class Seen:
    """Versions by the ids of their operations, with the parameters of the statement about them.

    `events` are the numbers of the last event by id, for operations whose log is read. The events
    of other operations are no change.

    Waiting clients come and go less often than the thread looks, so the parameters are kept.
    """

    def __init__(
        self, versions: Mapping[UUID, int], events: Mapping[UUID, int] | None = None
    ) -> None:
        self.versions = dict(versions)
        self.events = dict(events or {})
        self._parameters: list[Any] | None = None

    def parameters(self, *, is_binary: bool) -> list[Any]:
        """For PostgreSQL: the ids, the versions and the numbers of events, as three arrays."""
        if self._parameters is None:
            make = arrays.binary if is_binary else arrays.text
            events = [self.events.get(pk, NOT_READ) for pk in self.versions]
            self._parameters = make(list(self.versions), list(self.versions.values()), events)
        return self._parameters

    def is_current(self, pk: UUID, row: tuple[int, int] | None) -> bool:
        """Whether the version and the number of events in the row are those that were seen."""
        if row is None:
            return False
        version, events = row
        return version == self.versions[pk] and self.events.get(pk, events) == events


def changed(seen: Seen) -> set[UUID]:
    """The operations whose row is another one than `seen` says, or is deleted."""
    if connections[alias()].vendor == "postgresql":
        return _changed_on_postgresql(seen)
    current: dict[UUID, tuple[int, int]] = {}
    pks = list(seen.versions)
    for start in range(0, len(pks), CHUNK_IDS):
        rows = Operation.objects.filter(pk__in=pks[start : start + CHUNK_IDS])
        values = rows.values_list("pk", "version", "events")
        current.update((pk, (version, events)) for pk, version, events in values)
    return {pk for pk in pks if not seen.is_current(pk, current.get(pk))}


def _changed_on_postgresql(seen: Seen) -> set[UUID]:
    """The server compares, so it returns no rows while nothing happens.

    The subquery makes it use the primary key. For a join it reads the whole table: with 100,000
    rows that takes 40 ms instead of 8.
    """
    from django.db.backends.postgresql.psycopg_any import is_psycopg3

    connection: Any = connections[alias()]
    table = connection.ops.quote_name(Operation._meta.db_table)
    statement = (
        "SELECT seen.id FROM unnest(%s::uuid[], %s::int[], %s::int[]) "  # noqa: S608
        "AS seen(id, version, events) WHERE (SELECT stored.version = seen.version "
        "AND (seen.events < 0 OR stored.events = seen.events) "
        f"FROM {table} AS stored WHERE stored.id = seen.id) IS NOT TRUE"
    )
    with arrays.cursor(connection) if is_psycopg3 else connection.cursor() as cursor:
        cursor.execute(statement, seen.parameters(is_binary=is_psycopg3))
        return {pk for (pk,) in cursor.fetchall()}
