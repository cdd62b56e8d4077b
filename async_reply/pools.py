"""What Celery's pools cannot do by nature, and what to do about it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connections

from async_reply.models import database

GREEN = frozenset({"gevent", "eventlet"})
#: Modules of database drivers that wait in C, where no green thread can take over.
BLOCKING = frozenset({"sqlite3", "MySQLdb"})


@dataclass(frozen=True)
class Shortcoming:
    """`number` is that of the system check."""

    number: int
    text: str
    hint: str


def name_of(pool: object) -> str:
    """The pool's short name, from what `worker_pool` holds: a name, a path or a class."""
    text = str(getattr(pool, "__module__", "") or pool)
    short = text.partition(":")[0].rpartition(".")[2]
    return {"processes": "prefork", "thread": "threads"}.get(short, short)


def driver() -> str:
    """The module that the operations' database is reached by."""
    connection: Any = connections[database()]
    return str(connection.Database.__name__).partition(".")[0]


def reuses_connections() -> bool:
    """Whether Celery leaves a database connection open when a task has ended."""
    return bool(getattr(settings, "CELERY_DB_REUSE_MAX", None))


def shortcomings(pool: str, *, driver: str) -> Iterator[Shortcoming]:
    """What operations on `pool` have to do without; `driver` is a module's name."""
    if pool in {"threads", "solo"}:
        yield Shortcoming(
            130,
            f"The pool {pool} cannot end a job that never calls in: past its time limit, canceled "
            "or while the worker is to stop, it goes on and keeps its place.",
            "Call operation.progress() or check_canceled() in each job, or use --pool prefork.",
        )
    if pool in GREEN:
        yield Shortcoming(
            131,
            f"The pool {pool} cannot interrupt a job that computes: meanwhile every other job of "
            "the worker stands still, and after a lease all of them count as lost.",
            "Give kinds that compute a queue of their own with a worker of --pool prefork.",
        )
    if pool in GREEN and driver in BLOCKING:
        yield Shortcoming(
            132,
            f"The pool {pool} stands still during each query: {driver} does not cooperate.",
            "Use PostgreSQL with psycopg, or PyMySQL with MariaDB.",
        )
    if pool in GREEN and reuses_connections():
        yield Shortcoming(
            133,
            f"Each job on the pool {pool} opens a database connection of its own, which stays open "
            "after it: with CELERY_DB_REUSE_MAX Celery does not close it.",
            "Leave CELERY_DB_REUSE_MAX unset in the settings of workers of this pool.",
        )
