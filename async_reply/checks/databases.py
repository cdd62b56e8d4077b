"""Checks that the operations' database commits, orders and compares as operations need it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.apps import AppConfig
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.db import connections

from async_reply.checks.registry import register, register_for_databases
from async_reply.database import alias

Configs = Sequence[AppConfig] | None


@register
def check_sqlite(app_configs: Configs, **_kwargs: Any) -> list[CheckMessage]:
    """On SQLite, writers wait for their turn and do not fail."""
    connection = connections[alias()]
    mode = connection.settings_dict.get("OPTIONS", {}).get("transaction_mode")
    if connection.vendor != "sqlite" or str(mode).upper() == "IMMEDIATE":
        return []
    return [
        checks.Warning(
            "SQLite transactions are not IMMEDIATE: writers fail with 'database is locked'.",
            hint=f'Set DATABASES["{alias()}"]["OPTIONS"] = '
            '{"transaction_mode": "IMMEDIATE", "timeout": 20}.',
            id="async_reply.W103",
        )
    ]


@register
def check_autocommit(app_configs: Configs, **_kwargs: Any) -> list[CheckMessage]:
    """The settings let the database commit, so that a row exists for each 202."""
    connection = connections[alias()]
    options = connection.settings_dict.get("OPTIONS", {})
    mistakes = []
    if not connection.settings_dict.get("AUTOCOMMIT", True):
        mistakes.append("AUTOCOMMIT = False")
    # sqlite3 obeys this option. For MariaDB's drivers Django overrides it.
    if connection.vendor == "sqlite" and options.get("autocommit", True) is False:
        mistakes.append('OPTIONS["autocommit"] = False')
    return [
        Error(
            f"DATABASES has {mistake}: Django commits nothing. A submit is answered 202 without a "
            "row, and a worker holds each lock for ever.",
            hint="Remove it. Set ATOMIC_REQUESTS = True if each request shall be one transaction.",
            id="async_reply.E037",
        )
        for mistake in mistakes
    ]


@register_for_databases
def check_transactions(
    app_configs: Configs, databases: Sequence[str] | None = None, **_kwargs: Any
) -> list[CheckMessage]:
    """`check --database default`: commits last, and rollbacks undo."""
    connection = connections[alias()]
    if connection.alias not in (databases or ()):
        return []
    return [
        *([_session_holds_back()] if not _commits_by_itself(connection) else []),
        *_check_durability(connection),
        *_check_engine(connection),
    ]


def _commits_by_itself(connection: Any) -> bool:
    """Whether the driver has no open transaction after a statement outside of one.

    A receiver of `connection_created`, or a statement in `init_command`, may turn autocommit off
    without Django's knowledge.
    """
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            cursor.execute("SELECT @@autocommit")
            return bool(cursor.fetchone()[0]) or connection.in_atomic_block
        cursor.execute("SELECT 1")
    driver = connection.connection
    is_open = driver.in_transaction if connection.vendor == "sqlite" else not driver.autocommit
    return connection.in_atomic_block or not is_open


def _session_holds_back() -> CheckMessage:
    return Error(
        "Autocommit is off in connections to the operations' database, and Django does not know: "
        "a submit is answered 202 without a row.",
        hint="Look for autocommit in init_command and in receivers of connection_created.",
        id="async_reply.E038",
    )


#: A statement that asks whether a COMMIT survives a crash of the server, and the bad answer.
DURABILITY = {
    "postgresql": ("SHOW synchronous_commit", "off"),
    "mysql": ("SELECT @@innodb_flush_log_at_trx_commit", "0"),
}


def _check_durability(connection: Any) -> list[CheckMessage]:
    if connection.vendor not in DURABILITY:
        return []
    sql, bad = DURABILITY[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(sql)
        if str(cursor.fetchone()[0]) != bad:
            return []
    return [
        checks.Warning(
            f"The database answers COMMIT before it has written to disk ({sql.split()[-1]} is "
            f"{bad}): if the server crashes, operations with a 202 are lost.",
            hint="Leave that setting at its default in the sessions of this project.",
            id="async_reply.W127",
        )
    ]


def _check_engine(connection: Any) -> list[CheckMessage]:
    """MariaDB's tables of operations have transactions."""
    if connection.vendor != "mysql":
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, engine FROM information_schema.tables "
            "JOIN information_schema.engines USING (engine) "
            "WHERE table_schema = DATABASE() AND transactions = 'NO' ORDER BY table_name"
        )
        tables = [row for row in cursor.fetchall() if row[0].startswith("async_reply_")]
    return [
        checks.Warning(
            f"The table {table} has the engine {engine}, which has no transactions.",
            hint=f"Run ALTER TABLE {table} ENGINE = InnoDB.",
            id="async_reply.W128",
        )
        for table, engine in tables
    ]


@register
def check_isolation(app_configs: Configs, **_kwargs: Any) -> list[CheckMessage]:
    """On MariaDB, a row that is read again in a transaction is read as it is now."""
    connection = connections[alias()]
    level = connection.settings_dict.get("OPTIONS", {}).get("isolation_level", "read committed")
    if connection.vendor != "mysql" or str(level).lower() == "read committed":
        return []
    return [
        checks.Warning(
            f"Transactions on MariaDB have the isolation level {level!r}: if an operation has just "
            "changed, canceling it in a transaction reads the same old row for ever.",
            hint='Leave isolation_level in OPTIONS at Django\'s default, "read committed".',
            id="async_reply.W120",
        )
    ]


@register
def check_time_zone(app_configs: Configs, **_kwargs: Any) -> list[CheckMessage]:
    """Django reads the database's own times in the time zone in which they are written."""
    connection = connections[alias()]
    if connection.vendor == "postgresql" or _is_utc(connection.timezone_name):
        return []
    return [
        checks.Warning(
            "This database writes its own times in UTC, but Django reads them as times of "
            f"{connection.timezone_name}: operations start and expire hours too early or too "
            "late.",
            hint=f'Set USE_TZ = True, and remove TIME_ZONE from DATABASES["{connection.alias}"].',
            id="async_reply.W122",
        )
    ]


def _is_utc(zone: str) -> bool:
    """Whether the zone has no offset from UTC, neither in winter nor in summer."""
    return not any(ZoneInfo(zone).utcoffset(datetime(2000, month, 1)) for month in (1, 7))


#: Two ids. The first was made before the second.
IDS_IN_ORDER = ("00000000-0001-7000-8000-000000000002", "00000000-0002-7000-8000-000000000001")


@register_for_databases
def check_order_of_ids(
    app_configs: Configs, databases: Sequence[str] | None = None, **_kwargs: Any
) -> list[CheckMessage]:
    """`check --database default`: ids sort by time, since lists are sorted by them."""
    connection: Any = connections[alias()]
    if connection.vendor != "mysql" or connection.alias not in (databases or ()):
        return []
    if not connection.features.has_native_uuid_field:
        return []
    with connection.cursor() as cursor:
        cursor.execute("SELECT CAST(%s AS UUID) < CAST(%s AS UUID)", IDS_IN_ORDER)
        if cursor.fetchone()[0]:
            return []
    return [
        checks.Warning(
            "This MariaDB sorts ids by their last part, not by time: lists are in random order.",
            hint="Use MariaDB 10.6, or 10.11.6, 11.0.4 or newer.",
            id="async_reply.W121",
        )
    ]
