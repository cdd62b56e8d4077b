"""Lets a few threads of a process wait, for servers that need a thread for each request (WSGI)."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections

from async_reply import conf
from async_reply.models import Operation
from async_reply.waiting import ticker
from async_reply.waiting.callers import Caller

_lock = threading.Lock()
_used: Counter[Caller] = Counter()


@contextmanager
def slot(caller: Caller) -> Iterator[bool]:
    """Use one of the `WAIT_THREADS` slots of this process during the block; False if none is free.

    If there are several slots, one caller never has all of them.
    """
    with _lock:
        number = conf.get("WAIT_THREADS")
        is_free: bool = _used.total() < number and _used[caller] < max(1, number - 1)
        _used[caller] += is_free
    try:
        yield is_free
    finally:
        with _lock:
            _used[caller] -= is_free
            if not _used[caller]:
                del _used[caller]


def wait(
    operation: Operation, *, seconds: float, caller: Caller, known_version: int = 0
) -> bool | None:
    """Whether the operation finished, was deleted, or asks, within `seconds`. The thread waits.

    None at once if no slot is free or the thread is in a transaction, which would stay open. The
    thread's database connections are closed before it waits.
    """
    ended = threading.Event()

    def tell(row: Operation | None, shared: ticker.SharedAnswers) -> None:
        if ticker.is_news(row, known_version=known_version):
            ended.set()

    with slot(caller) as is_free:
        if not is_free or not release_connections():
            return None
        with ticker.ticker.watching(ticker.Waiter(operation.pk, operation.version, tell)):
            return ended.wait(seconds)


def is_in_transaction() -> bool:
    """Whether this thread is inside `atomic()` on any database."""
    return any(connection.in_atomic_block for connection in connections.all(initialized_only=True))


def release_connections() -> bool:
    """Close this thread's connections, and return True; inside a transaction only return False."""
    if is_in_transaction():
        return False
    for connection in connections.all(initialized_only=True):
        connection.close()
    return True
