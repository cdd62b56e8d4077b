"""Calls functions in an event loop from other threads, many at a time.

Each `call_soon_threadsafe` wakes the loop by a system call. A flush of a job is told to each of a
thousand readers, and the loop is woken once for all of them.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

Call = tuple[Callable[..., Any], tuple[Any, ...]]


class Mailbox:
    """The calls that an event loop has not made yet."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: deque[Call] = deque()
        self._is_woken = False

    def put(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call the function soon, in the loop. The first call for a closed loop is a RuntimeError.

        There is no lock. `_empty` resets the flag before it looks for calls. So it either sees this
        call, or is called again.
        """
        self._calls.append((function, arguments))
        if not self._is_woken:
            self._is_woken = True
            self._loop.call_soon_threadsafe(self._empty)

    def _empty(self) -> None:
        self._is_woken = False
        while self._calls:
            function, arguments = self._calls.popleft()
            try:
                function(*arguments)
            except Exception as error:  # noqa: BLE001 one call does not keep others back
                context = {"message": f"Error in {function!r}", "exception": error}
                self._loop.call_exception_handler(context)


_mailboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, Mailbox] = WeakKeyDictionary()


def mailbox() -> Mailbox:
    """The mailbox of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _mailboxes:
        _mailboxes[loop] = Mailbox(loop)
    return _mailboxes[loop]
