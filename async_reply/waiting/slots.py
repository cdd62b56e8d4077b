"""Waiting in a thread: for servers that have nothing else, a few at a time."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections

from async_reply import conf
from async_reply.models import Operation
from async_reply.waiting import ticker
from async_reply.waiting.callers import Caller


class Seats:
    """How many threads of this process may wait at a time: `WAIT_THREADS`.

    Where there are several, one caller never has all of them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: Counter[Caller] = Counter()

    @contextmanager
    def taken(self, caller: Caller) -> Iterator[bool]:
        """Whether a seat was free; then it is taken until the end of the block."""
        with self._lock:
            number = conf.get("WAIT_THREADS")
            free = self._taken.total() < number and self._taken[caller] < max(1, number - 1)
            self._taken[caller] += free
        try:
            yield free
        finally:
            with self._lock:
                self._taken[caller] -= free
                if not self._taken[caller]:
                    del self._taken[caller]


seats = Seats()


def wait(operation: Operation, *, seconds: float, caller: Caller) -> bool | None:
    """Hold this thread until the operation has finished, or is gone: True; or time is over: False.

    None at once where no seat is free, or where a transaction would be held open meanwhile. The
    thread's database connections are closed first.
    """
    ended = threading.Event()

    def tell(row: Operation | None, shared: ticker.Shared) -> None:
        if ticker.is_over(row):
            ended.set()

    with seats.taken(caller) as free:
        if not free or not leave_databases():
            return None
        with ticker.ticker.watching(ticker.Waiter(operation.pk, operation.version, tell)):
            return ended.wait(seconds)


def is_in_transaction() -> bool:
    """Whether this thread is inside `atomic()` on any database."""
    return any(each.in_atomic_block for each in connections.all(initialized_only=True))


def leave_databases() -> bool:
    """Close this thread's connections; False, and nothing done, inside a transaction."""
    opened = connections.all(initialized_only=True)
    if is_in_transaction():
        return False
    for connection in opened:
        connection.close()
    return True
