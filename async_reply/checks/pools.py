"""Lists the shortcomings of Celery's pools, and counts the connections that a worker wants.

`manage.py check` reports this for the pool in Celery's settings. Each worker logs it at its start,
since the command line may name another pool.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from celery import current_app
from django.db import connections

from async_reply.database import alias, pooling
from async_reply.logs import logger
from async_reply.worker import duties
from async_reply.worker.maintenance import Duty

GREEN = frozenset({"gevent", "eventlet"})
#: Modules of database drivers that wait in C. No other green thread runs meanwhile.
BLOCKING_DRIVERS = frozenset({"sqlite3", "MySQLdb"})
#: For each vendor: the names of a server's limits of connections, and the statement that reads
#: them.
LIMITS = {
    "postgresql": (
        ("CONNECTION LIMIT of this role", "CONNECTION LIMIT of this database", "max_connections"),
        """
        SELECT CASE WHEN rolsuper THEN -1 ELSE rolconnlimit END, datconnlimit,
            current_setting('max_connections')::int
            - current_setting('superuser_reserved_connections')::int
        FROM pg_roles, pg_database
        WHERE rolname = session_user AND datname = current_database()
        """,
    ),
    "mysql": (
        ("max_user_connections", "max_connections"),
        "SELECT IF(@@max_user_connections = 0, -1, @@max_user_connections), @@max_connections",
    ),
}


@dataclass(frozen=True)
class Shortcoming:
    """Something that operations on a pool have to do without. `number` is that of its check."""

    number: int
    text: str
    hint: str


def name_of(pool: object) -> str:
    """The short name of a pool, which may be given as a name, a path or a class."""
    text = str(getattr(pool, "__module__", "") or pool)
    short = text.partition(":")[0].rpartition(".")[2]
    return {"processes": "prefork", "thread": "threads"}.get(short, short)


def driver() -> str:
    """The name of the Python module that connects to the operations' database."""
    connection: Any = connections[alias()]
    return str(connection.Database.__name__).partition(".")[0]


def reuses_connections() -> bool:
    """Whether Celery leaves a database connection open when a task has ended."""
    return bool(current_app.conf.get("CELERY_DB_REUSE_MAX"))


def connections_wanted(pool: str, concurrency: int) -> int:
    """The most connections to the operations' database that one worker opens.

    These are the connections of its jobs, or of their pools of connections; one for the heartbeats
    of each process; and three in the main process, two of them for maintenance.
    """
    _, most = pooling.sizes()
    if pool in {"threads", *GREEN}:
        return (most or concurrency) + 1 + 3
    return concurrency * ((most or 1) + 1) + 3


def few_connections(pool: str, concurrency: int) -> Iterator[Shortcoming]:
    """Asks the database's server for its limits; yields those that are too low for one worker."""
    wanted = connections_wanted(pool, concurrency)
    for name, allowed in _limits():
        if 0 <= allowed < wanted:
            yield Shortcoming(
                124,
                f"A worker of pool {pool} and concurrency {concurrency} opens up to {wanted} "
                f"connections to the operations' database, but its {name} is {allowed}: a job "
                "whose heartbeat gets no connection for a lease counts as lost.",
                "Raise that limit to the sum of all workers and web processes, or lower "
                "--concurrency.",
            )


def _limits() -> list[tuple[str, int]]:
    """The limits of this database's server with their names. A negative one is no limit."""
    connection = connections[alias()]
    if connection.vendor not in LIMITS:
        return []
    names, sql = LIMITS[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return list(zip(names, map(int, cursor.fetchone()), strict=True))


def shortcomings(
    pool: str, *, driver: str, concurrency: int | None = None
) -> Iterator[Shortcoming]:
    """Yields the shortcomings of `pool`. `driver` is the name of a database driver's module."""
    yield from _shortcomings_of_connections(pool, concurrency or 1)
    if pool in {"threads", "solo"}:
        yield Shortcoming(
            130,
            f"The pool {pool} cannot end a job that never calls its operation: after its time "
            "limit, a cancel or a stop of the worker the job goes on and keeps its place.",
            "Call operation.progress() or check_canceled() in each job, or use --pool prefork.",
        )
    if pool in GREEN:
        yield Shortcoming(
            131,
            f"The pool {pool} cannot interrupt a job that computes: meanwhile each other job of "
            "the worker stands still, and after a lease all of them count as lost.",
            "Give kinds that compute their own queue, and a worker of --pool prefork for it.",
        )
    if pool in GREEN and driver in BLOCKING_DRIVERS:
        yield Shortcoming(
            132,
            f"The pool {pool} stands still during each query: {driver} lets no other job run.",
            "Use PostgreSQL with psycopg, or PyMySQL with MariaDB.",
        )
    if pool in GREEN and reuses_connections():
        yield Shortcoming(
            133,
            f"Each job on the pool {pool} opens its own database connection, and this stays open "
            "after the job: with CELERY_DB_REUSE_MAX Celery does not close it.",
            "Leave CELERY_DB_REUSE_MAX unset in the settings of workers of this pool.",
        )


def _shortcomings_of_connections(pool: str, concurrency: int) -> Iterator[Shortcoming]:
    least, most = pooling.sizes()
    if not most:
        return
    if pool in {"threads", *GREEN} and most < concurrency:
        yield Shortcoming(
            123,
            f"{concurrency} jobs of the pool {pool} share {most} database connections, but each "
            "job needs one from its start to its end: the other jobs wait before they start.",
            f'Set "pool": {{"max_size": {concurrency}}} or more in the OPTIONS of DATABASES, or '
            f"--concurrency {most}.",
        )
    if pool in {"prefork", "solo"}:
        yield Shortcoming(
            125,
            f"Each process of the pool {pool} opens {least} database connections for one job at a "
            "time, and Celery closes them after the job.",
            'Leave "pool" out of OPTIONS in the settings of these workers, and set '
            "CELERY_DB_REUSE_MAX = 1000 there.",
        )


def warn_of_pool(sender: Any = None, **_kwargs: Any) -> None:
    """Log the shortcomings of the pool of a worker that has started."""
    pool, concurrency = _pool_of(sender)
    for shortcoming in shortcomings(pool, driver=driver(), concurrency=concurrency):
        _warn(shortcoming)


def warn_of_connections(pool: str, concurrency: int) -> int:
    """Log each limit of the database that is too low. Returns 0: no operation was changed."""
    for shortcoming in few_connections(pool, concurrency):
        _warn(shortcoming)
    return 0


def _make_duty(consumer: Any) -> Duty:
    return Duty("connections", 3600, partial(warn_of_connections, *_pool_of(consumer)))


duties.additional.append(_make_duty)


def _warn(shortcoming: Shortcoming) -> None:
    logger.warning("async_reply.W%s: %s %s", shortcoming.number, shortcoming.text, shortcoming.hint)


def _pool_of(consumer: Any) -> tuple[str, int]:
    """The pool of the worker whose consumer sent `worker_ready`, and its most processes or threads.

    With --autoscale a worker may get more of them later than it has at its start.
    """
    controller = getattr(consumer, "controller", None)
    most = getattr(controller, "max_concurrency", 0) or getattr(controller, "concurrency", 0)
    return name_of(type(getattr(consumer, "pool", None))), int(most or 0)
