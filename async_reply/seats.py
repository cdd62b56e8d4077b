"""Waiting in a thread: for servers that have nothing else, a few at a time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections

from async_reply import conf, watch
from async_reply.models import Operation


class Seats:
    """How many threads of this process may wait at a time: `WAIT_THREADS`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = 0

    @contextmanager
    def taken(self) -> Iterator[bool]:
        """Whether a seat was free; then it is taken until the end of the block."""
        with self._lock:
            free: bool = self._taken < conf.get("WAIT_THREADS")
            self._taken += free
        try:
            yield free
        finally:
            with self._lock:
                self._taken -= free


seats = Seats()


def wait(operation: Operation, *, seconds: float) -> bool | None:
    """Hold this thread until the operation has finished, or is gone: True; or time is over: False.

    None at once where no seat is free, or where a transaction would be held open meanwhile. The
    thread's database connections are closed first.
    """
    ended = threading.Event()

    def tell(row: Operation | None, shared: watch.Shared) -> None:
        if watch.is_over(row):
            ended.set()

    with seats.taken() as free:
        if not free or not leave_databases():
            return None
        with watch.ticker.watching(watch.Waiter(operation.pk, operation.version, tell)):
            return ended.wait(seconds)


def leave_databases() -> bool:
    """Close this thread's connections; False, and nothing done, inside a transaction."""
    opened = connections.all(initialized_only=True)
    if any(connection.in_atomic_block for connection in opened):
        return False
    for connection in opened:
        connection.close()
    return True
