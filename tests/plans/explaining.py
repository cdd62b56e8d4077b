"""Reads the plans of statements in the same form from all three databases."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from django.db import connection

from async_reply.models import Operation

TABLE = Operation._meta.db_table
MENTIONS = re.compile(rf"\b{TABLE}\b")
OURS = "async_reply_op_"
PRIMARY = "primary"
ANY_SORT = 10**9
#: One name for the index of a constraint. Databases name them differently; SQLite numbers them.
NAMES = {
    "PRIMARY": PRIMARY,
    f"{TABLE}_pkey": PRIMARY,
    f"sqlite_autoindex_{TABLE}_1": PRIMARY,
    f"sqlite_autoindex_{TABLE}_2": "async_reply_op_idempotency",
}


class Plan(NamedTuple):
    """The plan of a statement.

    `indexes` are those by which the table is read. None among them stands for a scan of the table.
    `sorts` is the number of rows that the database expects to sort. SQLite does not tell the
    number, so `ANY_SORT` stands for it.
    """

    sql: str
    indexes: frozenset[str | None]
    sorts: int


@contextmanager
def explained() -> Iterator[list[Plan]]:
    """Collects the plans of the statements on operations that the block executes."""
    plans: list[Plan] = []

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if MENTIONS.search(sql) and not sql.startswith("INSERT"):
            prefix, read = READERS[connection.vendor]
            execute(f"{prefix} {sql}", params, many, context)
            indexes, sorts = read(context["cursor"].fetchall())
            if indexes:
                plans.append(Plan(sql, _normal(indexes), sorts))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        yield plans


def plans_of(function: Callable[[], Any]) -> list[Plan]:
    """The plans of the statements on operations that the function executes, one at least."""
    with explained() as plans:
        function()
    assert plans
    return plans


def _normal(indexes: set[str | None]) -> frozenset[str | None]:
    return frozenset(index and NAMES.get(index, index) for index in indexes)


def _read_postgresql(rows: list[Any]) -> tuple[set[str | None], int]:
    document = rows[0][0]
    plan = (json.loads(document) if isinstance(document, str) else document)[0]["Plan"]
    indexes: set[str | None] = set()
    sorts = 0
    for node in _nodes(plan):
        kind = node["Node Type"]
        if kind == "Seq Scan" and node["Relation Name"] == TABLE:
            indexes.add(None)
        index = node.get("Index Name", "")
        if index.startswith(OURS) or index in NAMES:
            indexes.add(index)
        if kind in {"Sort", "Incremental Sort"}:
            sorts = max(sorts, node["Plans"][0]["Plan Rows"])
    return indexes, sorts


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


def _read_sqlite(rows: list[Any]) -> tuple[set[str | None], int]:
    indexes: set[str | None] = set()
    details = [row[3] for row in rows]
    for detail in details:
        if TABLE in detail.split():
            _, used, index = detail.partition("INDEX ")
            indexes.add(index.split()[0] if used else None)
    return indexes, ANY_SORT * any("TEMP B-TREE FOR ORDER BY" in detail for detail in details)


def _read_mysql(rows: list[Any]) -> tuple[set[str | None], int]:
    """(id, select_type, table, type, possible_keys, key, key_len, ref, rows, Extra)."""
    tables = [row for row in rows if row[2] == TABLE]
    indexes: set[str | None] = set()
    for row in tables:
        indexes.update([None] if row[3] == "ALL" else row[5].split(","))
    sorts = [int(row[8]) for row in tables if "filesort" in (row[9] or "")]
    return indexes, max(sorts, default=0)


READERS = {
    "postgresql": ("EXPLAIN (FORMAT JSON)", _read_postgresql),
    "sqlite": ("EXPLAIN QUERY PLAN", _read_sqlite),
    "mysql": ("EXPLAIN", _read_mysql),
}
