"""Holds clients that read a stream outside Django, under ASGI."""

import asyncio
import math
import random
from collections.abc import Hashable
from contextlib import AbstractContextManager, nullcontext
from weakref import WeakValueDictionary

from async_reply.models import Operation
from async_reply.protocol import headers
from async_reply.status import FINAL
from async_reply.waiting import events, ticker, tickets
from async_reply.waiting.answers import Answer, ask, replaced
from async_reply.waiting.connection import Connection
from async_reply.waiting.mailboxes import mailbox
from async_reply.waiting.registry import ClientRegistry
from async_reply.waiting.scopes import Scope, follow_up, identity

#: Comments that are due on several streams within these seconds are sent together.
COMMENT_INTERVAL_SECONDS = 0.25


class Identity:
    """The identity of a scope. Equal ones are the same object, which is compared at once."""

    __slots__ = ("__weakref__",)


_identities: WeakValueDictionary[Hashable, Identity] = WeakValueDictionary()


def _same(value: Hashable) -> Identity:
    """The object that stands for this identity while a client has it."""
    return _identities.setdefault(value, Identity())


class StreamingClient:
    """A client that reads a stream: it is told of changes, and asks Django for their events.

    Of changes a client that reads slowly gets only the last of those that it missed. Of a log it
    gets page after page.
    """

    def __init__(self, ticket: tickets.Stream, scope: Scope) -> None:
        self._loop = asyncio.get_running_loop()
        self._ticket = ticket
        self._mailbox = mailbox()
        # A thousand readers are told at once, and the parts of a scope are many: it is made once.
        self._scope = follow_up(scope, ticket.url, seen=ticket.seen)
        self._identity = _same(identity(self._scope))
        #: The number of the newest event, and of the newest for which Django had no answer.
        self._newest = ticket.seen.newest(ticket.operation)
        self._unanswered = 0
        self._shared: ticker.SharedAnswers = {}
        self._has_news = asyncio.Event()
        self._is_comment_due = False
        self._timer = self._loop.call_later(ticket.seconds, self.close)
        self.is_over = ticket.is_over

    def close(self) -> None:
        """End the stream."""
        self.is_over = True
        self._has_news.set()

    def stop_timer(self) -> None:
        self._timer.cancel()

    def tell(self, row: Operation | None, shared: ticker.SharedAnswers) -> None:
        """Called by the ticker, in its thread."""
        newest = None if row is None else self._ticket.seen.newest(row)
        self._mailbox.put(self._take_news, newest, shared)

    def _take_news(self, newest: int | None, shared: ticker.SharedAnswers) -> None:
        if newest is None:
            self.close()
        else:
            self._newest, self._shared = newest, shared
            self._has_news.set()

    async def next(self) -> bytes:
        """The next events, a comment if none comes for long, or nothing at the end."""
        while not self.is_over:
            if await self._gets_news():
                body = await self._ask()
                if body:
                    return body
            elif not self.is_over:
                return events.KEEP_ALIVE_COMMENT
        return b""

    async def _gets_news(self) -> bool:
        """Wait for newer events; False when a comment is due, or the stream is over."""
        self._is_comment_due = False
        timer = self._loop.call_at(self._comment_at(), self._wake_for_comment)
        try:
            while not (self.is_over or self._is_comment_due or self._is_behind()):
                self._has_news.clear()
                await self._has_news.wait()
        finally:
            timer.cancel()
        return not self.is_over and self._is_behind()

    def _wake_for_comment(self) -> None:
        self._is_comment_due = True
        self._has_news.set()

    def _is_behind(self) -> bool:
        return self._newest > max(self._ticket.seen.number, self._unanswered)

    async def _ask(self) -> bytes:
        """The events that are new to the client; a client that may not read them is at the end."""
        newest, seen = self._newest, self._ticket.seen
        handover = tickets.Handover(is_follow_up=True, seen=seen)
        scope = {**self._scope, tickets.HANDOVER_KEY: handover}
        key = self._identity, seen
        answer = await ask(scope, self._ticket.caller, self._shared, key=key)
        if answer.code == 204:
            self._unanswered = newest
            return b""
        if answer.code != 200 or not isinstance(answer.ticket, tickets.Stream):
            self.close()
            return b""
        self._ticket = answer.ticket
        self._newest = max(self._newest, self._ticket.seen.newest(self._ticket.operation))
        self.is_over = self.is_over or self._ticket.is_over
        return answer.body

    def _comment_at(self) -> float:
        """When to send a comment: in groups, which is cheaper than one by one or all at once."""
        pause = tickets.KEEP_ALIVE_SECONDS * random.uniform(0.9, 1.0)  # noqa: S311 no secret
        intervals = math.ceil((self._loop.time() + pause) / COMMENT_INTERVAL_SECONDS)
        return intervals * COMMENT_INTERVAL_SECONDS


async def stream(
    ticket: tickets.Stream, answer: Answer, connection: Connection, registry: ClientRegistry
) -> None:
    """Send the first events, then later ones as they come, until the operation has finished."""
    client = StreamingClient(ticket, connection.scope)
    watching: AbstractContextManager[None] = nullcontext()
    if ticket.operation.status not in FINAL:
        watching = ticker.ticker.watching(ticket.waiter(client.tell))
    fields = replaced(answer.fields, [headers.CONTENT_LENGTH], {})
    start = {"type": "http.response.start", "status": answer.code, "headers": fields}
    try:
        async with connection.while_connected():
            await connection.send(start)
            await _send_part(connection, answer.body)
            with registry.waiting(client, ticket.caller), watching:
                while chunk := await client.next():
                    await _send_part(connection, chunk)
            await connection.send({"type": "http.response.body", "body": b""})
    finally:
        client.stop_timer()


async def _send_part(connection: Connection, chunk: bytes) -> None:
    await connection.send({"type": "http.response.body", "body": chunk, "more_body": True})
