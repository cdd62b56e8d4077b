"""Calls functions in an event loop from other threads, many at a time.

Each `call_soon_threadsafe` wakes the loop by a system call. A flush of a job is told to each of a
thousand readers, and the loop is woken once for all of them.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

Call = tuple[Callable[..., Any], tuple[Any, ...]]


class Mailbox:
    """The calls that an event loop has not made yet."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._calls: list[Call] = []

    def put(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call the function soon, in the loop. Raises RuntimeError once the loop is closed."""
        with self._lock:
            self._calls.append((function, arguments))
            is_first = len(self._calls) == 1
        if is_first:
            self._loop.call_soon_threadsafe(self._empty)

    def _empty(self) -> None:
        with self._lock:
            calls, self._calls = self._calls, []
        for function, arguments in calls:
            self._loop.call_soon(function, *arguments)


_mailboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, Mailbox] = WeakKeyDictionary()


def mailbox() -> Mailbox:
    """The mailbox of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _mailboxes:
        _mailboxes[loop] = Mailbox(loop)
    return _mailboxes[loop]
