"""What operations ask of the database."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.apps import AppConfig
from django.core import checks
from django.core.checks import CheckMessage, Tags, register
from django.db import connections

from async_reply.models import database

Configs = Sequence[AppConfig] | None


@register("async_reply")
def check_sqlite(app_configs: Configs, **_kwargs: Any) -> list[CheckMessage]:
    """Writers wait for their turn instead of failing."""
    connection = connections[database()]
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
def check_isolation(app_configs: Configs, **_kwargs: Any) -> list[CheckMessage]:
    """A row that is read again is the row as it is now."""
    connection = connections[database()]
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
    connection = connections[database()]
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
    connection: Any = connections[database()]
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
