"""Fills a database for each number of operations, on PostgreSQL, for benchmarks of growth."""

import os
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import psycopg

#: Row `n` was submitted `n` times {pace} seconds ago. Of the newest {varied} rows a fiftieth wait,
#: fifty run, and all others are finished, some of them failed or canceled. Older rows are a second
#: apart, and have succeeded. A twentieth of all rows has expired, and another twentieth are
#: tombstones whose time is over.
SEED = """
INSERT INTO async_reply_operation (
    id, kind, status, version, attempt, retries, max_retries, losses, input_files, steps,
    total_retries, total_losses, earlier_seconds, idle_releases, events, kept_events, kept, pause,
    max_losses, time_limit, owner, view, reply, message, error, input, extra, commands, queue,
    worker, created_at, available_at, published_at, publishes, started_at,
    deadline_at, updated_at, lease_expires_at,
    finished_at, expires_at, purge_at, deleted_at, idempotency_digest, fingerprint, traceparent)
SELECT
    CAST(lpad(to_hex(1000 * (CAST(extract(epoch FROM now()) AS bigint) - age)), 12, '0')
         || '70008000' || lpad(to_hex(n), 12, '0') AS uuid),
    CASE WHEN n %% 50 = 3 THEN 'demo.sleep' ELSE 'demo.export' END,
    CASE WHEN waits THEN 'pending' WHEN runs THEN 'running' WHEN fails THEN 'failed'
         WHEN varies AND (n %% 101 = 8 OR n %% 150 = 3) THEN 'canceled' ELSE 'succeeded' END,
    3, CASE WHEN waits THEN 0 ELSE 1 END, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '',
    '', 2, 3600,
    CASE WHEN n %% 53 = 0 THEN '1' WHEN varies AND n %% 150 = 4 THEN 'few'
         ELSE CAST(2 + n %% 1000 AS text) END,
    'demo_project.views.ExportView', '{}', '',
    CASE WHEN fails THEN
        CAST('{"code": "internal-error", "detail": "The job failed."}' AS jsonb) END,
    '{"rows": 10}', '{}', 0, '', CASE WHEN runs THEN 'w@h/' || n ELSE '' END,
    now() - age * second, now() - age * second,
    CASE WHEN n > 100 THEN now() - age * second END, CASE WHEN n > 100 THEN 1 ELSE 0 END,
    CASE WHEN NOT waits THEN now() - (age - 1) * second END,
    CASE WHEN runs THEN now() + 3600 * second END, now() - age * second,
    CASE WHEN runs THEN now() + (n %% 5 - 1) * second * 600 END,
    CASE WHEN NOT (waits OR runs) THEN now() - (age - 2) * second END,
    CASE WHEN NOT (waits OR runs) THEN now() + (keeps - n) * second END,
    CASE WHEN NOT (waits OR runs) THEN now() + (keeps - n) * second END,
    CASE WHEN n > tombstones THEN now() - (age - 3) * second END,
    CASE WHEN n %% 3 = 0 THEN CAST(n AS text) END, '', ''
FROM (
    SELECT *, varies AND n %% 101 = 7 AND NOT (waits OR runs) AS fails FROM (
        SELECT n, n <= {varied} AS varies,
            CASE WHEN n <= {varied} THEN n * {pace} ELSE n + {varied} * ({pace} - 1) END AS age,
            n <= {varied} / 50 AS waits, n > {varied} / 50 AND n <= {varied} / 50 + 50 AS runs,
            interval '1 second' AS second, {rows} * 9 / 10 AS keeps, {rows} * 19 / 20 AS tombstones
        FROM generate_series(1, {rows}) AS n
    ) AS numbers
) AS numbers;
INSERT INTO async_reply_operationresult (operation_id, attempt, value, content_type, headers)
SELECT id, 1, '{"rows": 10}', '', '{}' FROM async_reply_operation
WHERE status = 'succeeded' AND deleted_at IS NULL;
INSERT INTO async_reply_operationattempt (operation_id, number, worker, ended_at, outcome,
    exception, message, traceback)
SELECT id, 1, 'w@h/1', now(), 'failed', 'builtins.ValueError', '', '' FROM async_reply_operation
WHERE status = 'failed' AND deleted_at IS NULL;
"""


@dataclass
class Sizes:
    """The databases on a server, one for each number of operations. Their names have a prefix."""

    server: str
    prefix: str

    def name(self, rows: int) -> str:
        return f"{self.prefix}_{rows}"

    def exists(self, rows: int) -> bool:
        with psycopg.connect(self.server, autocommit=True) as connection:
            names = connection.execute("SELECT datname FROM pg_database").fetchall()
        return (self.name(rows),) in names

    def drop(self, rows: int) -> None:
        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {self.name(rows)} WITH (FORCE)")

    def use(self, rows: int) -> None:
        """Connect to the database of a size."""
        from django.db import connection

        if connection.settings_dict["NAME"] != self.name(rows):
            connection.close()
            connection.settings_dict["NAME"] = self.name(rows)
            connection.ensure_connection()

    def create(self, rows: int, *, varied: int | None = None, pace: int = 1) -> None:
        """Make the database of a size anew, with all of its rows, and connect to it.

        `varied` and `pace`: see `SEED`. All rows vary by default.
        """
        from django.contrib.auth.models import User
        from django.core.management import call_command
        from django.db import connection

        from async_reply.models import Worker

        self.drop(rows)
        with psycopg.connect(self.server, autocommit=True) as server:
            server.execute(f"CREATE DATABASE {self.name(rows)}")
        self.use(rows)
        call_command("migrate", verbosity=0)
        User.objects.create_superuser("ada")
        for number in range(20):
            Worker.objects.create(name=f"w{number}@h", concurrency=4, queues=["celery"])
        with connection.cursor() as cursor:
            for statement in SEED.split(";\n"):
                if statement.strip():
                    sql = statement.replace("%%", "%").replace("{rows}", str(rows))
                    sql = sql.replace("{varied}", str(varied or rows))
                    cursor.execute(sql.replace("{pace}", str(pace)))
        settle()


def settle() -> None:
    """Have the database do now what it would do some time later."""
    from django.db import connection

    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as vacuum:
        vacuum.execute("VACUUM ANALYZE")
        # An ordinary user may not.
        with suppress(psycopg.errors.InsufficientPrivilege):
            vacuum.execute("CHECKPOINT")


def set_up(prefix: str, *, settings: str = "demo_project.settings") -> Sizes:
    """Set Django up for the server of DATABASE_URL, without DEBUG."""
    server = os.environ.get("DATABASE_URL", "postgres://postgres@127.0.0.1:5432/postgres")
    os.environ["DATABASE_URL"] = urlunsplit(urlsplit(server)._replace(path="/postgres"))
    os.environ |= {"DJANGO_SETTINGS_MODULE": settings, "DEBUG": "0"}
    os.environ |= {"SECRET_KEY": "only-for-the-benchmark" * 3}
    import django

    django.setup()
    import demo_project.celery  # noqa: F401 it becomes the current app

    return Sizes(server, prefix)
