"""What a worker's threads must not be in the midst of while its pool forks a process.

A pool of connections is closed before: the child would share its sockets.

SQLite remembers in its process's memory what the process has locked. A forked child inherits that
memory, without the locks: what a thread of its parent had open then is to the child another user
of the file who never ends, and each of its own writes finds the database locked.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections

from async_reply.database import alias, pooling
from async_reply.logs import logger

#: Seconds that a fork waits, and all of its worker's event loop with it.
PATIENCE = 5.0


class Gate:
    """Threads pass it together, a fork alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._forks = 0

    @contextmanager
    def passed(self) -> Iterator[None]:
        """While no process is forked."""
        with self._changed:
            self._changed.wait_for(lambda: not self._forks)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Before a fork: let no thread in, and wait until none is inside."""
        with self._changed:
            self._forks += 1
            left = self._changed.wait_for(lambda: not self._inside, PATIENCE)
        if not left:
            logger.warning(
                "A process is forked beside a thread that uses SQLite: should it find the database "
                "locked for good, restart the worker. PostgreSQL and MariaDB know no such locks."
            )

    def open(self) -> None:
        with self._changed:
            self._forks -= 1
            self._changed.notify_all()


_gate = Gate()


def _forget_parent() -> None:
    """A forked child has none of its parent's threads."""
    global _gate
    _gate = Gate()


os.register_at_fork(before=pooling.close_pool)
os.register_at_fork(
    before=lambda: _gate.close(),
    after_in_parent=lambda: _gate.open(),
    after_in_child=_forget_parent,
)


@contextmanager
def held_off() -> Iterator[None]:
    """While this thread uses the database; its connection to SQLite is closed before a fork."""
    connection = connections[alias()]
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        yield
        return
    with _gate.passed():
        try:
            yield
        finally:
            connection.close()
