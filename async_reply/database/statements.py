"""Runs statements that only PostgreSQL has: other databases need a read or a transaction.

The SQL of the UPDATE is Django's own, with a RETURNING or a WITH added. Django has a RETURNING of
its own since 6.0, and no WITH that writes.
"""

from collections.abc import Mapping
from typing import Any

from django.db import connections, transaction
from django.db.models import Model, QuerySet
from django.db.models.sql import UpdateQuery


def are_possible(using: str) -> bool:
    """Whether the database executes these statements."""
    return connections[using].vendor == "postgresql"


def update_returning(rows: QuerySet[Any], changes: Mapping[str, Any]) -> list[Any]:
    """Update `rows` and return their new values."""
    sql, params = _compiled(rows, changes)
    with transaction.mark_for_rollback_on_error(using=rows.db):
        return list(rows.raw(f"{sql} RETURNING *", params))


def update_and_insert(rows: QuerySet[Any], changes: Mapping[str, Any], new: Model | None) -> bool:
    """Update the one row in `rows` and insert `new`; False, without an insert, if it has none.

    Other databases than PostgreSQL need two statements: the caller opens a transaction.
    """
    connection = connections[rows.db]
    if new is None or not are_possible(rows.db):
        matched = rows.update(**changes) == 1
        if matched and new is not None:
            new.save(force_insert=True)
        return matched
    quote = connection.ops.quote_name
    update, params = _compiled(rows, changes)
    fields = new._meta.concrete_fields
    values = [field.get_db_prep_save(getattr(new, field.attname), connection) for field in fields]
    columns = ", ".join(quote(str(field.column)) for field in fields)
    sql = (
        f"WITH updated AS ({update} RETURNING 1) "  # noqa: S608 names of columns, and parameters
        f"INSERT INTO {quote(new._meta.db_table)} ({columns}) "
        f"SELECT {', '.join(['%s'] * len(fields))} FROM updated"
    )
    with transaction.mark_for_rollback_on_error(using=rows.db), connection.cursor() as cursor:
        cursor.execute(sql, (*params, *values))
        return bool(cursor.rowcount)


def _compiled(rows: QuerySet[Any], changes: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
    query: Any = rows.query.chain(UpdateQuery)
    query.add_update_values(changes)
    sql, params = query.get_compiler(rows.db).as_sql()
    return sql, params
