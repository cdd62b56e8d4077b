"""Connections outside of the pool that Django shares among the threads of a process.

A pool may be empty for as long as jobs run, and they hold its connections. Threads on which their
leases depend must not wait for it. A thread that listens would keep a connection of it for good.
"""

from contextlib import suppress
from typing import Any

from django.db import connections

from async_reply.database import alias

#: psycopg's own default.
MIN_SIZE = 4


def copy() -> Any:
    """A connection to the operations' database that belongs to no pool."""
    connection = connections[alias()].copy()
    connection.settings_dict["OPTIONS"].pop("pool", None)
    return connection


def leave_pool() -> None:
    """Take this thread's connection out of the pool, if there is one."""
    if has_pool():
        connections[alias()].close()
        connections[alias()] = copy()


def has_pool() -> bool:
    return bool(_options())


def sizes() -> tuple[int, int]:
    """How many connections the pool keeps, and how many it may have; (0, 0) without a pool."""
    options = _options()
    if not options:
        return 0, 0
    given = {} if options is True else options
    least = given.get("min_size", MIN_SIZE)
    return least, given.get("max_size") or least


def _options() -> Any:
    return connections[alias()].settings_dict["OPTIONS"].get("pool")


def close_pool() -> None:
    """Close the pool, where there is one; whoever uses it next opens another.

    Before a fork: the child would share its sockets, and end the parent's sessions with them.
    """
    if has_pool():
        connection: Any = connections[alias()]
        with suppress(KeyError):  # another thread has just done it
            connection.close_pool()
