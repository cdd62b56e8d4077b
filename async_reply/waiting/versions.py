"""Finds the operations whose version has changed since a client last saw them."""

from uuid import UUID

from django.db import connections

from async_reply.database import alias
from async_reply.models import Operation

#: Versions by the ids of their operations.
Versions = dict[UUID, int]

#: Ids in one statement, on databases other than PostgreSQL.
CHUNK_IDS = 500


def changed(versions: Versions) -> set[UUID]:
    """The operations whose row has another version than `versions` says, or is deleted."""
    if connections[alias()].vendor == "postgresql":
        return _changed_on_postgresql(versions)
    current: Versions = {}
    pks = list(versions)
    for start in range(0, len(pks), CHUNK_IDS):
        rows = Operation.objects.filter(pk__in=pks[start : start + CHUNK_IDS])
        current.update(rows.values_list("pk", "version"))
    return {pk for pk, version in versions.items() if current.get(pk) != version}


def _changed_on_postgresql(versions: Versions) -> set[UUID]:
    """The server compares the versions, so it returns no rows while nothing happens."""
    connection = connections[alias()]
    table = connection.ops.quote_name(Operation._meta.db_table)
    statement = (
        "SELECT seen.id FROM unnest(%s::uuid[], %s::int[]) AS seen(id, version) "  # noqa: S608
        f"LEFT JOIN {table} AS stored USING (id) "
        "WHERE stored.version IS DISTINCT FROM seen.version"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, _arrays(versions))
        return {pk for (pk,) in cursor.fetchall()}


def _arrays(versions: Versions) -> list[str]:
    """Ids and versions in the syntax of PostgreSQL's arrays: drivers convert a list slowly."""
    columns = [pk.hex for pk in versions], [str(version) for version in versions.values()]
    return ["{" + ",".join(column) + "}" for column in columns]
