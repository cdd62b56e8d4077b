"""Jobs that harm their process or its database connection."""

import asyncio
import multiprocessing
import os
import resource
from collections.abc import Callable, Iterator
from typing import Any

from django.db import ProgrammingError, connection, transaction

from async_reply.attempts.jobs import Job
from async_reply.models import Operation

#: Keeps objects alive until the process ends.
kept: list[Any] = []


def rows() -> Iterator[int]:
    with transaction.atomic():
        Operation.objects.update(extra={"locked": True})
        yield from range(10**9)


def generator(operation: Job) -> None:
    """Keeps all rows locked until its time limit stops it."""
    for _ in operation.track(rows()):
        pass


def autocommit(operation: Job) -> None:
    transaction.set_autocommit(False)
    Operation.objects.update(extra={"locked": True})


def begin(operation: Job) -> None:
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
    Operation.objects.update(extra={"locked": True})


def session(operation: Job) -> None:
    """Changes the session by the driver, so that Django does not see the statement."""
    connection.ensure_connection()
    statement = {
        "postgresql": "SET search_path TO pg_temp",
        "sqlite": "PRAGMA query_only = 1",
    }[connection.vendor]
    connection.connection.cursor().execute(statement)


def loop(operation: Job) -> None:
    """Leaves an event loop running, like Playwright's synchronous interface."""
    asyncio._set_running_loop(asyncio.new_event_loop())


def descriptors(operation: Job) -> None:
    """Uses up all file descriptors."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
    try:
        while True:
            kept.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return


def refuse(*_: Any, **__: Any) -> None:
    raise ProgrammingError("this process has lost its mind")


def mind(operation: Job) -> None:
    """Breaks every connection of this process, present and future."""
    operation.on_finish(lambda: transaction.on_commit(break_down, using=connection.alias))


def break_down() -> None:
    type(connection._connections[connection.alias]).cursor = refuse  # type: ignore[attr-defined]


def fork(operation: Job) -> str:
    """Forks. The child reaches the end of the job first."""
    child = os.fork()
    if not child:
        return "child"
    os.waitpid(child, 0)
    return "parent"


def fork_that_fails(operation: Job) -> str:
    child = os.fork()
    if not child:
        raise ZeroDivisionError
    return f"parent of {os.waitpid(child, 0)[1] >> 8}"


def fork_that_exits(operation: Job) -> str:
    child = os.fork()
    if not child:
        raise SystemExit(7)
    return f"parent of {os.waitpid(child, 0)[1] >> 8}"


def process(operation: Job) -> str:
    """Starts a process. A worker's child is a daemon, which normally may not start any."""
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    child = multiprocessing.get_context("fork").Process(target=operation.progress, args=(50,))
    child.start()
    child.join()
    return f"parent of {child.exitcode}"


WAYS: dict[str, Callable[[Job], Any]] = {
    function.__name__: function
    for function in (
        *(generator, autocommit, begin, session, loop, descriptors, mind),
        *(fork, fork_that_fails, fork_that_exits, process),
    )
}
