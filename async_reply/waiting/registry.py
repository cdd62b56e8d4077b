"""Knows the clients that wait in one ASGI application, to answer them when the server stops."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from async_reply.waiting.callers import Caller

#: How many clients of one caller wait at most; further clients are answered at once.
MAX_CLIENTS_PER_CALLER = 5_000


class Client(Protocol):
    """A client that waits."""

    def close(self) -> None:
        """End the wait: the client is answered with the present state."""


class ClientRegistry:
    """The clients that wait, until `close`."""

    def __init__(self) -> None:
        self.clients: set[Client] = set()
        self.is_closed = False
        self._numbers: Counter[Caller] = Counter()

    def has_room(self, caller: Caller) -> bool:
        """Whether one more client of `caller` may wait."""
        return self._numbers[caller] < MAX_CLIENTS_PER_CALLER

    @contextmanager
    def waiting(self, client: Client, caller: Caller) -> Iterator[None]:
        """During the block the client counts as one that waits, and is closed at a shutdown."""
        self.clients.add(client)
        self._numbers[caller] += 1
        if self.is_closed:  # since the request came
            client.close()
        try:
            yield
        finally:
            self.clients.discard(client)
            self._numbers[caller] -= 1
            if not self._numbers[caller]:
                del self._numbers[caller]

    def close(self) -> None:
        """Answer all clients with the present state. Later ones do not wait."""
        self.is_closed = True
        for client in list(self.clients):
            client.close()
