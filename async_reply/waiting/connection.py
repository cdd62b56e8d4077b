"""Listens to a client's connection, so that no work is done for a client that has left."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from async_reply.waiting.scopes import Message, Receive, Scope, Send


class Connection:
    """The ASGI connection of one request; the block hears when its client leaves."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.send = send
        self._receive = receive
        self._gone = asyncio.Event()
        self._has_sent_request = False
        self._limit: asyncio.Timeout | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._task.cancel()

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone.set()
        if self._limit is not None:
            self._limit.reschedule(0)

    @property
    def is_gone(self) -> bool:
        """Whether the client has left."""
        return self._gone.is_set()

    @asynccontextmanager
    async def while_connected(self) -> AsyncIterator[None]:
        """The block is cancelled, without an error, when the client leaves."""
        try:
            async with asyncio.timeout(0 if self.is_gone else None) as self._limit:
                yield
        except TimeoutError:
            if not self.is_gone:
                raise
        finally:
            self._limit = None

    async def receive(self) -> Message:
        """For an application that serves this client: an empty body, later the disconnect."""
        if not self._has_sent_request:
            self._has_sent_request = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    def restart(self) -> None:
        """Another request is made for this client, and receives the empty body again."""
        self._has_sent_request = False
