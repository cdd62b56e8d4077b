"""Helps tests to wait for conditions, for other threads, and for the clients that wait."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from django.db import connections

from async_reply.waiting.ticker import ticker

PATIENCE = 30.0


def until(condition: Callable[[], bool], *, seconds: float = PATIENCE) -> None:
    """Return once `condition` holds; AssertionError if it does not in time."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.01)


@contextmanager
def in_thread(function: Callable[[], Any]) -> Iterator[Future[Any]]:
    """`function` runs during the block, in a thread that leaves no connection behind."""

    def run() -> Any:
        try:
            return function()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(run)


def until_waiting(number: int = 1) -> None:
    """Return once so many clients wait."""
    until(lambda: ticker.waiting == number)


def until_looked() -> None:
    """Return once the ticker has read the rows of new waiters, and its next look is not yet due."""
    until(lambda: not ticker._hints and ticker._next_look_at > time.monotonic())
