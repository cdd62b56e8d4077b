"""Reads the plans of statements in the same form from all three databases."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from django.db import connection

from async_reply.models import Operation

PRIMARY = "primary"
ANY_SORT = 10**9


class Table(NamedTuple):
    """A table, and how the names of its indexes begin.

    SQLite and MariaDB name a table by its alias: `alias` is the one of its subqueries.
    """

    name: str
    prefix: str
    alias: str = ""

    def normal(self, index: str | None) -> str | None:
        """One name for the index of a constraint. Databases name them differently."""
        return self._names.get(index, index) if index else None

    def has_index(self, name: str) -> bool:
        return name.startswith(self.prefix) or name in self._names

    @property
    def _names(self) -> dict[str, str]:
        """SQLite numbers them."""
        return {
            "PRIMARY": PRIMARY,
            f"{self.name}_pkey": PRIMARY,
            f"sqlite_autoindex_{self.name}_1": PRIMARY,
            f"sqlite_autoindex_{self.name}_2": f"{self.prefix}idempotency",
        }


OPERATIONS = Table(Operation._meta.db_table, "async_reply_op_")


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
def explained(table: Table = OPERATIONS) -> Iterator[list[Plan]]:
    """Collects the plans of the statements on `table` that the block executes."""
    plans: list[Plan] = []
    mentions = re.compile(rf"\b{table.name}\b")

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if mentions.search(sql) and not sql.startswith("INSERT"):
            prefix, read = READERS[connection.vendor]
            execute(f"{prefix} {sql}", params, many, context)
            indexes, sorts = read(context["cursor"].fetchall(), table)
            if indexes:
                plans.append(Plan(sql, frozenset(map(table.normal, indexes)), sorts))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        yield plans


def plans_of(function: Callable[[], Any]) -> list[Plan]:
    """The plans of the statements on operations that the function executes, one at least."""
    with explained() as plans:
        function()
    assert plans
    return plans


def rows_read_by(function: Callable[[], Any], table: Table = OPERATIONS) -> dict[str, int]:
    """How many rows of `table` each statement of the function reads, on PostgreSQL."""
    rows_of: dict[str, int] = {}
    mentions = re.compile(rf"\b{table.name}\b")

    def measure(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("SELECT") and mentions.search(sql):
            execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params, many, context)
            document = context["cursor"].fetchone()[0]
            plan = (json.loads(document) if isinstance(document, str) else document)[0]["Plan"]
            rows_of[sql] = sum(_rows_read(node) for node in _nodes(plan) if _reads(node, table))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(measure):
        function()
    assert rows_of
    return rows_of


def _reads(node: dict[str, Any], table: Table) -> bool:
    """Whether a node of a plan reads rows of the table, or entries of one of its indexes."""
    return bool(
        node.get("Relation Name") == table.name or table.has_index(node.get("Index Name", ""))
    )


def _rows_read(node: dict[str, Any]) -> int:
    """The rows of all loops, with those that a condition sorts out."""
    dropped = sum(value for name, value in node.items() if name.startswith("Rows Removed by"))
    return int((node["Actual Rows"] + dropped) * node["Actual Loops"])


def _read_postgresql(rows: list[Any], table: Table) -> tuple[set[str | None], int]:
    document = rows[0][0]
    plan = (json.loads(document) if isinstance(document, str) else document)[0]["Plan"]
    indexes: set[str | None] = set()
    sorts = 0
    for node in _nodes(plan):
        kind = node["Node Type"]
        if kind == "Seq Scan" and node["Relation Name"] == table.name:
            indexes.add(None)
        index = node.get("Index Name", "")
        if table.has_index(index):
            indexes.add(index)
        if kind in {"Sort", "Incremental Sort"}:
            sorts = max(sorts, node["Plans"][0]["Plan Rows"])
    return indexes, sorts


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


def _read_sqlite(rows: list[Any], table: Table) -> tuple[set[str | None], int]:
    indexes: set[str | None] = set()
    details = [row[3] for row in rows]
    for detail in details:
        if {table.name, table.alias} & {*detail.split()}:
            _, used, index = detail.partition("INDEX ")
            indexes.add(index.split()[0] if used else None)
    return indexes, ANY_SORT * any("TEMP B-TREE FOR ORDER BY" in detail for detail in details)


def _read_mysql(rows: list[Any], table: Table) -> tuple[set[str | None], int]:
    """(id, select_type, table, type, possible_keys, key, key_len, ref, rows, Extra)."""
    tables = [row for row in rows if row[2] in (table.name, table.alias)]
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
