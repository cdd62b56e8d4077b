"""Waiting for conditions, and for those who wait."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from django.db import connections

from async_reply.waiting import ticker

PATIENCE = 30.0


def until(condition: Callable[[], bool], *, seconds: float = PATIENCE) -> None:
    """Return once `condition` holds; AssertionError when it does not in time."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.01)


@contextmanager
def in_thread(function: Callable[[], Any]) -> Iterator[Future[Any]]:
    """`function` runs meanwhile, in a thread that leaves no connection behind."""

    def run() -> Any:
        try:
            return function()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(run)


def until_parked(number: int = 1) -> None:
    """Return once as many wait."""
    until(lambda: ticker.ticker.waiting == number)


def until_looked() -> None:
    """Return once the look that each newcomer is worth is past."""
    until(lambda: not ticker.ticker._doubtful and ticker.ticker._asked is not None)
