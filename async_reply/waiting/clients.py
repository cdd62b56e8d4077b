"""Clients that are parked: those that wait for an answer, and those that read a stream."""

import asyncio
import math
import random
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from typing import Any, Protocol, Self

from async_reply.estimates import forecasts
from async_reply.models import Operation
from async_reply.protocol import headers
from async_reply.status import FINAL
from async_reply.waiting import events, ticker, tickets
from async_reply.waiting.answers import Answer, ask, replaced
from async_reply.waiting.callers import Caller
from async_reply.waiting.executor import askers
from async_reply.waiting.scopes import Message, Receive, Scope, Send, again

#: Seconds: comments on streams that are due within them are sent at once.
TOGETHER = 0.25


class Lot(Protocol):
    """What a parked client needs of the application around it."""

    application: Any

    def parking(self, client: Any, caller: Caller) -> AbstractAsyncContextManager[None]:
        """While the client is parked: `client.close()` is called when the server stops."""


class Connection:
    """A client's connection, listened to, so that nothing is done for a client that has left."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = asyncio.Event()
        self._has_asked = False
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
        return self._gone.is_set()

    @asynccontextmanager
    async def staying(self) -> AsyncIterator[None]:
        """The block is given up when the client leaves."""
        try:
            async with asyncio.timeout(0 if self.is_gone else None) as self._limit:
                yield
        except TimeoutError:
            if not self.is_gone:
                raise
        finally:
            self._limit = None

    async def receive(self) -> Message:
        """For an application that serves this client: it has no body, and may leave."""
        if not self._has_asked:
            self._has_asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    def begin(self) -> None:
        """Another application will ask."""
        self._has_asked = False


class Waiting:
    """A client that waits for the end of an operation."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        #: What is shared with others who are told of the end; None where the wait was in vain.
        self.ended: asyncio.Future[ticker.Shared | None] = self._loop.create_future()

    def _end(self, shared: ticker.Shared | None) -> None:
        if not self.ended.done():
            self.ended.set_result(shared)

    def close(self) -> None:
        self._end(None)

    def tell(self, row: Operation | None, shared: ticker.Shared) -> None:
        """For the ticker, in its thread."""
        if ticker.is_over(row):
            self._loop.call_soon_threadsafe(self._end, shared)


async def hold(
    lot: Lot, ticket: tickets.Wait, answer: Answer, scope: Scope, client: Connection, send: Send
) -> None:
    """Answer when the operation has finished, time is over or the server stops."""
    async with client.staying():
        shared = await _wait(lot, ticket)
        if not isinstance(ticket, tickets.Submit):
            told = {} if shared is None else shared
            answer = await ask(again(scope, ticket.url), ticket.caller, told)
    if client.is_gone:
        return
    if isinstance(ticket, tickets.Submit):
        if shared is not None and await reply(lot, ticket, answer, scope, client, send):
            return
        with suppress(Exception):  # accepted is accepted
            answer = answer.having({"Retry-After": await _retry_after(ticket)})
    await answer.applied(ticket.seconds).send(send)


async def _wait(lot: Lot, ticket: tickets.Wait) -> ticker.Shared | None:
    """Return when it is over, or None in vain."""
    if ticker.is_over(ticket.operation):
        return {}
    client = Waiting()
    waiter = ticker.Waiter(ticket.operation.pk, ticket.operation.version, client.tell)
    timer = asyncio.get_running_loop().call_later(ticket.seconds, client.close)
    try:
        async with lot.parking(client, ticket.caller):
            with ticker.ticker.watching(waiter):
                return await client.ended
    finally:
        timer.cancel()


async def _retry_after(ticket: tickets.Wait) -> str:
    told = askers.call(ticket.caller, partial(forecasts.retry_after_wait, ticket.operation))
    return str(await asyncio.wrap_future(told))


async def reply(
    lot: Lot, ticket: tickets.Wait, accepted: Answer, scope: Scope, client: Connection, send: Send
) -> bool:
    """Pass on what the result's view answers, large or small; False where it does not.

    The operation was accepted, whatever comes of this: credentials that were good for the submit
    alone are refused here, and other applications may fail.
    """
    told = {name: accepted.field(name.lower().encode("ascii")) for name in headers.KEY_ANSWERS}
    new = {"Content-Location": ticket.url, **{name: told[name] for name in told if told[name]}}
    asked = again(scope, ticket.url)
    place: tickets.Parking = asked[tickets.KEY]
    passed = False

    async def take(message: Message) -> None:
        nonlocal passed
        if message["type"] == "http.response.start":
            passed = place.replied and message["status"] < 500
            answer = Answer(fields=message["headers"]).applied(ticket.seconds)
            message["headers"] = answer.having(new).fields
        if passed:
            await send(message)

    client.begin()
    try:
        await lot.application(asked, client.receive, take)
    except Exception:
        if passed:
            raise
    return passed or client.is_gone


class Reader:
    """A client that reads a stream: it hears that there is something new, and asks what it is.

    Of the events that it is slow to take it gets the last.
    """

    def __init__(self, ticket: tickets.Stream, scope: Scope) -> None:
        self._loop = asyncio.get_running_loop()
        self._ticket = ticket
        self._scope = scope
        self._known = ticket.known
        #: The newest version there is, and that which was newest when Django was asked.
        self._newest = self._asked = 0
        self._shared: ticker.Shared = {}
        self._news = asyncio.Event()
        self._life = self._loop.call_later(ticket.seconds, self.close)
        self.is_over = ticket.operation.status in FINAL

    def close(self) -> None:
        self.is_over = True
        self._news.set()

    def stop(self) -> None:
        self._life.cancel()

    def tell(self, row: Operation | None, shared: ticker.Shared) -> None:
        """For the ticker, in its thread."""
        self._loop.call_soon_threadsafe(self._hear, None if row is None else row.version, shared)

    def _hear(self, version: int | None, shared: ticker.Shared) -> None:
        if version is None:
            self.close()
        else:
            self._newest, self._shared = version, shared
            self._news.set()

    async def next(self) -> bytes:
        """The next event, or a comment where there is none for long; nothing at the end."""
        while not self.is_over:
            if await self._hears():
                event = await self._ask()
                if event:
                    return event
            elif not self.is_over:
                return events.KEEP_ALIVE
        return b""

    async def _hears(self) -> bool:
        """Whether there is something new; nothing when a comment is due, or the stream is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._beat_at()):
                while not self.is_over and not self._is_behind():
                    self._news.clear()
                    await self._news.wait()
        return not self.is_over and self._is_behind()

    def _is_behind(self) -> bool:
        return self._newest > max(self._known.version, self._asked)

    async def _ask(self) -> bytes:
        """The event that is new to the client; whoever may not read it any more is at the end."""
        self._asked = self._newest
        scope = again(self._scope, self._ticket.url, known=self._known)
        answer = await ask(scope, self._ticket.caller, self._shared)
        if answer.code == 204:
            return b""
        if answer.code != 200 or not isinstance(answer.ticket, tickets.Stream):
            self.close()
            return b""
        self._known = answer.ticket.known
        self.is_over = self.is_over or answer.ticket.operation.status in FINAL
        return answer.body

    def _beat_at(self) -> float:
        """When to send a comment: not all at a time, but some, which costs less than one by one."""
        pause = tickets.KEEP_ALIVE * random.uniform(0.9, 1.0)  # noqa: S311 no secret
        return math.ceil((self._loop.time() + pause) / TOGETHER) * TOGETHER


async def stream(
    lot: Lot, ticket: tickets.Stream, answer: Answer, scope: Scope, client: Connection, send: Send
) -> None:
    """Send an event for each change until the operation has finished."""
    reader = Reader(ticket, scope)
    waiter = ticker.Waiter(ticket.operation.pk, ticket.known.version, reader.tell)
    fields = replaced(answer.fields, ["Content-Length"], {})
    try:
        async with client.staying():
            await send({"type": "http.response.start", "status": answer.code, "headers": fields})
            await _send_part(send, answer.body)
            async with lot.parking(reader, ticket.caller):
                with ticker.ticker.watching(waiter):
                    while chunk := await reader.next():
                        await _send_part(send, chunk)
            await send({"type": "http.response.body", "body": b""})
    finally:
        reader.stop()


async def _send_part(send: Send, chunk: bytes) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": True})
