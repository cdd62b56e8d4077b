"""Makes 200,000 operations of a realistic mix in seconds, by one statement of the database.

Row `n` is `n` seconds old. The youngest rows are pending or running, all others are finished. Every
tenth of the finished rows is a tombstone.
"""

from django.apps import apps
from django.core.management.color import no_style
from django.db import connection

from async_reply.models import Operation
from async_reply.status import Status

ROWS = 200_000
#: One row in 211 belongs to OWNER. The others belong to as many owners as OWNERS says.
OWNERS = 1_000
OWNER = "0"

#: The SQL of each database for a time `seconds` ago, and for an id of that time.
DIALECTS = {
    "sqlite": (
        "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', '-' || ({seconds}) || ' seconds')",
        "printf('%%012x', 1000 * (unixepoch() - {seconds})) || '70008000' || printf('%%012x', n)",
    ),
    "postgresql": (
        "now() - ({seconds}) * interval '1 second'",
        (
            "CAST(lpad(to_hex(1000 * (CAST(extract(epoch FROM now()) AS bigint) - {seconds})), "
            "12, '0') || '70008000' || lpad(to_hex(n), 12, '0') AS uuid)"
        ),
    ),
    "mysql": (
        "UTC_TIMESTAMP(6) - INTERVAL ({seconds}) SECOND",
        (
            "CONCAT(LPAD(HEX(1000 * (UNIX_TIMESTAMP() - {seconds})), 12, '0'), '70008000', "
            "LPAD(HEX(n), 12, '0'))"
        ),
    ),
}
TIME, ID = DIALECTS[connection.vendor]


def ago(seconds: str) -> str:
    return TIME.format(seconds=seconds)


#: Conditions on the number of a row that decide its status.
WAITING, RUNNING = "n <= 2000", "n > 2000 AND n <= 2100"
PUBLISHED = "n > 100"

COLUMNS = {
    "id": ID.format(seconds="n"),
    "kind": "CASE WHEN n %% 50 = 3 THEN 'tests.rare' ELSE 'tests.export' END",
    "status": (
        f"CASE WHEN {WAITING} THEN '{Status.PENDING}' WHEN {RUNNING} THEN '{Status.RUNNING}' "
        f"WHEN n %% 101 = 7 THEN '{Status.FAILED}' WHEN n %% 101 = 8 THEN '{Status.CANCELED}' "
        f"ELSE '{Status.SUCCEEDED}' END"
    ),
    "owner": f"CASE WHEN n %% 211 = 0 THEN '{OWNER}' ELSE CAST(n %% {OWNERS} AS CHAR(4)) END",
    "version": "3",
    "attempt": f"CASE WHEN {WAITING} THEN 0 ELSE 1 END",
    "created_at": ago("n"),
    "available_at": ago("n"),
    "updated_at": ago("n"),
    "published_at": f"CASE WHEN {PUBLISHED} THEN {ago('n')} END",
    "publishes": f"CASE WHEN {PUBLISHED} THEN 1 ELSE 0 END",
    "started_at": f"CASE WHEN {WAITING} THEN NULL ELSE {ago('n')} END",
    "deadline_at": f"CASE WHEN {RUNNING} THEN {ago('n - 3600')} END",
    "lease_expires_at": f"CASE WHEN {RUNNING} THEN {ago('n - 2090')} END",
    "finished_at": f"CASE WHEN {WAITING} OR {RUNNING} THEN NULL ELSE {ago('n - 1')} END",
    "expires_at": f"CASE WHEN {WAITING} OR {RUNNING} THEN NULL ELSE {ago('n - 199900')} END",
    "purge_at": f"CASE WHEN {WAITING} OR {RUNNING} THEN NULL ELSE {ago('n - 199900')} END",
    "deleted_at": f"CASE WHEN n %% 10 = 9 AND n > 2100 THEN {ago('n - 2')} END",
    "give_up_at": f"CASE WHEN n %% 3 = 0 AND {WAITING} THEN {ago('n - 3600')} END",
    "idempotency_digest": "CASE WHEN n %% 3 = 0 THEN CAST(n AS CHAR(64)) END",
}
OTHERS = {
    "max_losses": "2",
    "time_limit": "3600",
    **dict.fromkeys(("retries", "max_retries", "losses", "input_files", "commands"), "0"),
    **dict.fromkeys(("steps", "idle_releases", "total_retries", "total_losses"), "0"),
    **dict.fromkeys(("events", "kept_events"), "0"),
    "earlier_seconds": "0",
    **dict.fromkeys(("reply", "input", "extra"), "'{}'"),
    **dict.fromkeys(
        ("view", "kept", "pause", "message", "queue", "worker", "fingerprint", "traceparent"), "''"
    ),
}


def fill() -> None:
    """Insert the rows, and update the statistics with which the database makes its plans."""
    insert(Operation._meta.db_table, {**COLUMNS, **OTHERS})


def insert(table: str, columns: dict[str, str]) -> None:
    """Insert ROWS rows. The value of a column is SQL, with `n` for the number of its row."""
    quote = connection.ops.quote_name
    numbers = (
        "WITH RECURSIVE numbers(n) AS "
        f"(SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {ROWS})"
    )
    target = f"INSERT INTO {table} ({', '.join(map(quote, columns))})"
    select = f"SELECT {', '.join(columns.values())} FROM numbers"
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            cursor.execute("SET SESSION max_recursive_iterations = %s", [ROWS + 1])
            cursor.execute(f"{target} {numbers} {select}", ())
            cursor.execute(f"ANALYZE TABLE {table}")
            cursor.fetchall()
        else:
            cursor.execute(f"{numbers} {target} {select}", ())
        if connection.vendor == "postgresql":
            cursor.execute(f"ANALYZE {table}")


def clear(label: str = "async_reply") -> None:
    """Delete all rows of an app by TRUNCATE, outside of a transaction."""
    tables = [model._meta.db_table for model in apps.get_app_config(label).get_models()]
    statements = connection.ops.sql_flush(no_style(), tables, allow_cascade=True)
    connection.ops.execute_sql_flush(statements)
