"""Keeps a worker's threads out of the database while its pool forks a process.

SQLite remembers in the memory of a process which locks that process holds. A forked child inherits
this memory without the locks. If a thread of the parent had the file open at that moment, the
child counts it as another user of the file that never ends, and every write of the child finds
the database locked.

A pool of connections is closed before a fork, since the child would share its sockets.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections

from async_reply.database import alias, pooling
from async_reply.logs import logger

#: A fork waits this long for threads. The worker's event loop stands still meanwhile.
FORK_WAIT_SECONDS = 5.0


class Gate:
    """Lets many threads in at a time, and none while a process is forked."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._forks = 0

    @contextmanager
    def entered(self) -> Iterator[None]:
        """No process is forked inside this block, unless the block takes FORK_WAIT_SECONDS."""
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
        """Let no thread in, and wait until none is inside. Called before a fork."""
        with self._changed:
            self._forks += 1
            is_empty = self._changed.wait_for(lambda: not self._inside, FORK_WAIT_SECONDS)
        if not is_empty:
            logger.warning(
                "A process is forked beside a thread that uses SQLite. Restart the worker if that "
                "process finds the database locked for good. PostgreSQL and MariaDB do not have "
                "this problem."
            )

    def open(self) -> None:
        with self._changed:
            self._forks -= 1
            self._changed.notify_all()


_gate = Gate()


def _make_gate_anew() -> None:
    """Start with an empty gate, since a forked child has none of its parent's threads."""
    global _gate
    _gate = Gate()


os.register_at_fork(before=pooling.close_pool)
os.register_at_fork(
    before=lambda: _gate.close(),
    after_in_parent=lambda: _gate.open(),
    after_in_child=_make_gate_anew,
)


@contextmanager
def delayed() -> Iterator[None]:
    """A fork waits for this block on SQLite, and finds its connection closed.

    Other databases, and a block inside a transaction, delay no fork.
    """
    connection = connections[alias()]
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        yield
        return
    with _gate.entered():
        try:
            yield
        finally:
            connection.close()
