"""What operations ask of the database."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.apps import AppConfig
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import connections

from async_reply.database import alias

Configs = Sequence[AppConfig] | None


@register("async_reply")
def check_sqlite(app_configs: Configs, **_kwargs: Any) -> list[CheckMessage]:
    """Writers wait for their turn instead of failing."""
    connection = connections[alias()]
    mode = connection.settings_dict.get("OPTIONS", {}).get("transaction_mode")
    if connection.vendor != "sqlite" or str(mode).upper() == "IMMEDIATE":
        return []
    return [
        checks.Warning(
            "SQLite transactions are not IMMEDIATE: writers fail with 'database is locked'.",
            hint='Set OPTIONS = {"transaction_mode": "IMMEDIATE", "timeout": 20} in DATABASES.',
            id="async_reply.W103",
        )
    ]


@register("async_reply")
def check_autocommit(app_configs: Configs, **_kwargs: Any) -> list[CheckMessage]:
    """What a 202 speaks of is committed."""
    connection = connections[alias()]
    options = connection.settings_dict.get("OPTIONS", {})
    named = []
    if not connection.settings_dict.get("AUTOCOMMIT", True):
        named.append("AUTOCOMMIT = False")
    # To Python's sqlite3 it is the same; MariaDB's drivers are told otherwise by Django.
    if connection.vendor == "sqlite" and options.get("autocommit", True) is False:
        named.append('OPTIONS["autocommit"] = False')
    return [
        Error(
            f"DATABASES has {each}: nothing is committed by itself. Submits would be answered 202 "
            "without a row, and workers would hold every lock for good.",
            hint="Remove it. For one transaction a request set ATOMIC_REQUESTS = True instead.",
            id="async_reply.E037",
        )
        for each in named
    ]


@register("async_reply", Tags.database)
def check_transactions(
    app_configs: Configs, databases: Sequence[str] | None = None, **_kwargs: Any
) -> list[CheckMessage]:
    """`check --database default`: what was committed stays, what was rolled back goes."""
    connection = connections[alias()]
    if connection.alias not in (databases or ()):
        return []
    return [
        *([_session_holds_back()] if not _commits_by_itself(connection) else []),
        *_check_durability(connection),
        *_check_engine(connection),
    ]


def _commits_by_itself(connection: Any) -> bool:
    """Whether a statement outside of a transaction leaves none open, by the driver's own word.

    A receiver of `connection_created`, or a statement at the connection's start, may say otherwise
    than Django believes.
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
        "Connections to the operations' database do not commit by themselves, although Django "
        "takes it that they do: submits would be answered 202 without a row.",
        hint="Look for autocommit in init_command and in receivers of connection_created.",
        id="async_reply.E038",
    )


#: What asks whether a COMMIT outlives the server's process: a statement, and the bad answer.
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
            f"The database answers COMMIT before it has written it ({sql.split()[-1]} is {bad}): "
            "submits answered 202 are gone when the server crashes.",
            hint="Leave that setting at its default in the sessions of this project.",
            id="async_reply.W127",
        )
    ]


def _check_engine(connection: Any) -> list[CheckMessage]:
    """MariaDB has tables without transactions."""
    if connection.vendor != "mysql":
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, engine FROM information_schema.tables "
            "JOIN information_schema.engines USING (engine) "
            "WHERE table_schema = DATABASE() AND transactions = 'NO' ORDER BY table_name"
        )
        found = [row for row in cursor.fetchall() if row[0].startswith("async_reply_")]
    return [
        checks.Warning(
            f"The table {table} is kept by {engine}, which knows no transactions.",
            hint=f"Run ALTER TABLE {table} ENGINE = InnoDB.",
            id="async_reply.W128",
        )
        for table, engine in found
    ]


@register("async_reply")
def check_isolation(app_configs: Configs, **_kwargs: Any) -> list[CheckMessage]:
    """A row that is read again is the row as it is now."""
    connection = connections[alias()]
    level = connection.settings_dict.get("OPTIONS", {}).get("isolation_level", "read committed")
    if connection.vendor != "mysql" or str(level).lower() == "read committed":
        return []
    return [
        checks.Warning(
            f"Transactions on MariaDB have the isolation level {level!r}: within one, canceling "
            "an operation that has just moved on reads the same old row for ever.",
            hint='Leave isolation_level in OPTIONS at Django\'s default, "read committed".',
            id="async_reply.W120",
        )
    ]


@register("async_reply")
def check_time_zone(app_configs: Configs, **_kwargs: Any) -> list[CheckMessage]:
    """What the database says of now is what Django takes for now."""
    connection = connections[alias()]
    if connection.vendor == "postgresql" or _is_utc(connection.timezone_name):
        return []
    return [
        checks.Warning(
            "Django takes this database's own times, which are UTC, for those of "
            f"{connection.timezone_name}: operations start and expire by hours too early or too "
            "late.",
            hint=f'Set USE_TZ = True, and no TIME_ZONE in DATABASES["{connection.alias}"].',
            id="async_reply.W122",
        )
    ]


def _is_utc(zone: str) -> bool:
    """Whether it is UTC by any of its names, in winter and in summer."""
    return not any(ZoneInfo(zone).utcoffset(datetime(2000, month, 1)) for month in (1, 7))


#: Ids of which the first was made before the second.
IDS_IN_ORDER = ("00000000-0001-7000-8000-000000000002", "00000000-0002-7000-8000-000000000001")


@register("async_reply", Tags.database)
def check_order_of_ids(
    app_configs: Configs, databases: Sequence[str] | None = None, **_kwargs: Any
) -> list[CheckMessage]:
    """Lists are newest first by their ids alone; `check --database` asks."""
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
            "This MariaDB sorts ids by their end, not by their time: lists are in random order.",
            hint="Use MariaDB 10.6, or 10.11.6, 11.0.4 and what came after them.",
            id="async_reply.W121",
        )
    ]
