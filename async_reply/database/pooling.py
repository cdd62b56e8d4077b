"""Opens connections outside of Django's pool, which the threads of a process share.

Jobs hold connections of the pool for as long as they run, so that the pool may be empty. The
threads that renew the jobs' leases must not wait for a connection. A thread that listens for
notifications would keep one for ever.
"""

from contextlib import suppress
from typing import Any

from django.db import connections

from async_reply.database import alias

#: The default of psycopg_pool.
MIN_SIZE = 4


def copy() -> Any:
    """A connection to the operations' database that belongs to no pool."""
    connection = connections[alias()].copy()
    connection.settings_dict["OPTIONS"].pop("pool", None)
    return connection


def leave_pool() -> None:
    """Give this thread a connection outside of the pool, if there is a pool."""
    if has_pool():
        connections[alias()].close()
        connections[alias()] = copy()


def has_pool() -> bool:
    return bool(_options())


def sizes() -> tuple[int, int]:
    """The least and the most connections of the pool; (0, 0) without a pool."""
    options = _options()
    if not options:
        return 0, 0
    configured = {} if options is True else options
    least = configured.get("min_size", MIN_SIZE)
    return least, configured.get("max_size") or least


def _options() -> Any:
    return connections[alias()].settings_dict["OPTIONS"].get("pool")


def close_pool() -> None:
    """Close the pool, if there is one, before a fork. The next use of it opens another pool.

    A child process would share the sockets of the pool, and end the parent's sessions with them.
    """
    if has_pool():
        connection: Any = connections[alias()]
        with suppress(KeyError):  # another thread has just closed it
            connection.close_pool()
