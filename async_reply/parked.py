"""Clients that are parked: those that wait for an answer, and those that read a stream."""

import asyncio
import math
import random
from collections.abc import AsyncIterator, Iterable, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from enum import Enum
from typing import Any, Protocol

from django.db import DatabaseError

from async_reply import headers, parking, sse, watch
from async_reply.models import Operation
from async_reply.scopes import Message, Receive, Scope, Send, again

Field = tuple[bytes, bytes]

#: Seconds: comments on streams that are due within them are sent at once.
TOGETHER = 0.25


class Lot(Protocol):
    """What a parked client needs of the application around it."""

    application: Any

    async def ask(self, scope: Scope) -> "Response":
        """What Django answers a GET whose answer is small."""

    def parking(self, client: Any) -> AbstractAsyncContextManager[None]:
        """While the client is parked: `client.close()` is called when the server stops."""


class Response:
    """An answer of Django's, kept back."""

    def __init__(self) -> None:
        self.code = 0
        self.fields: list[Field] = []
        self.body = b""

    def take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.code = message["status"]
            self.fields = list(message["headers"])
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")

    def field(self, name: bytes) -> str:
        values = [value for key, value in self.fields if key.lower() == name]
        return b", ".join(values).decode("latin-1")

    async def send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.code, "headers": self.fields})
        await send({"type": "http.response.body", "body": self.body})

    def update(self, answer: parking.Answer) -> None:
        """Tell of now; a field that the answer lacks no longer holds."""
        body = self.body if answer.body is None else answer.body
        told = {"Retry-After", "ETag", "Content-Length"}
        new = {**answer.fields, "Content-Length": str(len(body))}
        if answer.body is None:
            told.discard("ETag")
        self.fields = replaced(self.fields, told, new)
        self.body = body


def replaced(fields: Iterable[Field], names: Iterable[str], new: Mapping[str, str]) -> list[Field]:
    """`fields` without those named, and with new ones."""
    gone = {name.lower().encode("ascii") for name in names}
    kept = [field for field in fields if field[0].lower() not in gone]
    return [*kept, *((name.encode("ascii"), new[name].encode("latin-1")) for name in new)]


def applied(response: Response, seconds: float) -> None:
    """Say that the wish to wait was followed."""
    name = "Preference-Applied"
    value = headers.applied(response.field(name.lower().encode("ascii")), int(seconds))
    response.fields = replaced(response.fields, [name], {name: value})


class Ending(Enum):
    """Why a wait is over."""

    FINISHED = "finished"
    LEFT = "left"
    IN_VAIN = "in vain"


class Waiting:
    """A client that waits for one answer."""

    def __init__(self, ticket: parking.Wait) -> None:
        self._loop = asyncio.get_running_loop()
        self._ticket = ticket
        self.operation = ticket.operation
        self.ended: asyncio.Future[tuple[Ending, parking.Answer | None]]
        self.ended = self._loop.create_future()

    def end(self, ending: Ending, answer: parking.Answer | None = None) -> None:
        if not self.ended.done():
            self.ended.set_result((ending, answer))

    def close(self) -> None:
        self.end(Ending.IN_VAIN)

    def leave(self) -> None:
        self.end(Ending.LEFT)

    def tell(self, row: Operation | None, shared: watch.Shared) -> None:
        """For the ticker, in its thread."""
        if row is not None:
            self.operation = row
        if row is None or watch.is_over(row):
            answer = None if row is None else self._ticket.answer(row, shared)
            self._loop.call_soon_threadsafe(self.end, Ending.FINISHED, answer)


async def hold(
    lot: Lot,
    ticket: parking.Wait,
    response: Response,
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Answer when the operation has finished, time is over or the server stops."""
    client = Waiting(ticket)
    waiter = watch.Waiter(ticket.operation.pk, ticket.operation.version, client.tell)
    timer = asyncio.get_running_loop().call_later(ticket.seconds, client.close)
    async with lot.parking(client), listening(receive, client.leave):
        with watch.ticker.watching(waiter):
            ending, answer = await client.ended
    timer.cancel()
    if ending is Ending.LEFT:
        return
    if ending is Ending.IN_VAIN:
        now = client.operation
        with suppress(DatabaseError):
            answer = await in_ticker(lambda: ticket.answer(now, {}))
    if answer is not None and not response.field(b"content-encoding"):
        response.update(answer)
    elif isinstance(ticket, parking.Submit):
        if ending is Ending.FINISHED and await reply(lot, ticket, scope, receive, send):
            return
    else:
        response = await lot.ask(again(scope, ticket.url))
    applied(response, ticket.seconds)
    await response.send(send)


async def reply(
    lot: Lot, ticket: parking.Submit, scope: Scope, receive: Receive, send: Send
) -> bool:
    """Pass on what the result's URL answers, large or small; False where it is no reply."""
    first = iter([{"type": "http.request", "body": b"", "more_body": False}])
    passed = True

    async def heard() -> Message:
        return next(first, None) or await receive()

    async def take(message: Message) -> None:
        nonlocal passed
        if message["type"] == "http.response.start":
            passed = headers.is_reply(message["status"])
            response = Response()
            response.take(message)
            applied(response, ticket.seconds)
            new = {"Content-Location": ticket.url}
            message = {**message, "headers": replaced(response.fields, new, new)}
        if passed:
            await send(message)

    await lot.application(again(scope, ticket.url), heard, take)
    return passed


class Reader:
    """A client that reads a stream; of the events it is slow to take it gets the last."""

    def __init__(self, ticket: parking.Stream) -> None:
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._chunk = b""
        self._life = self._loop.call_later(ticket.seconds, self.close)
        self._beat: asyncio.TimerHandle | None = None
        self.is_over = False
        self.feed = parking.Feed(ticket, self._put)

    def close(self) -> None:
        watch.ticker.call(self.feed.part).add_done_callback(self._check)

    def _check(self, parted: Future[Any]) -> None:
        """Where nothing can be said any more, the stream ends without a word."""
        if parted.exception() is not None:
            self._put(b"", True)

    def leave(self) -> None:
        self._chunk = b""
        self.is_over = True
        self._news.set()

    async def next(self) -> bytes:
        """What is to be sent next, when there is something; nothing when the stream is over."""
        if not self._chunk and not self.is_over:
            self._beat = self._loop.call_at(self._beat_at(), self._keep_alive)
            await self._news.wait()
            self._beat.cancel()
        self._news.clear()
        chunk, self._chunk = self._chunk, b""
        return chunk

    def _beat_at(self) -> float:
        """When to send a comment: not all at a time, but some, which costs less than one by one."""
        pause = parking.KEEP_ALIVE * random.uniform(0.9, 1.0)  # noqa: S311 no secret
        return math.ceil((self._loop.time() + pause) / TOGETHER) * TOGETHER

    def stop(self) -> None:
        self._life.cancel()
        if self._beat is not None:
            self._beat.cancel()

    def _put(self, event: bytes, is_last: bool) -> None:
        """For the feed, in the ticker's thread."""
        self._loop.call_soon_threadsafe(self._take, event, is_last)

    def _take(self, event: bytes, is_last: bool) -> None:
        self._chunk = event or self._chunk
        self.is_over = self.is_over or is_last
        self._news.set()

    def _keep_alive(self) -> None:
        self._chunk = self._chunk or sse.KEEP_ALIVE
        self._news.set()


async def stream(
    lot: Lot, ticket: parking.Stream, response: Response, receive: Receive, send: Send
) -> None:
    """Send an event for each change until the operation has finished."""
    reader = Reader(ticket)
    waiter = watch.Waiter(ticket.operation.pk, ticket.operation.version, reader.feed.tell)
    fields = replaced(response.fields, ["Content-Length"], {})
    await send({"type": "http.response.start", "status": response.code, "headers": fields})
    await _send_part(send, await in_ticker(reader.feed.first))
    reader.is_over = reader.is_over or watch.is_over(ticket.operation)
    async with lot.parking(reader), listening(receive, reader.leave):
        with watch.ticker.watching(waiter):
            while chunk := await reader.next():
                await _send_part(send, chunk)
    reader.stop()
    await send({"type": "http.response.body", "body": b""})


async def _send_part(send: Send, chunk: bytes) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": True})


@asynccontextmanager
async def listening(receive: Receive, leave: Any) -> AsyncIterator[None]:
    """Call `leave` when the client goes before the end of the block."""

    async def listen() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        leave()

    task = asyncio.create_task(listen())
    try:
        yield
    finally:
        task.cancel()


async def in_ticker(function: Any) -> Any:
    """What `function` returns in the ticker's thread, where the database may be used."""
    done: Future[Any] = watch.ticker.call(function)
    return await asyncio.wrap_future(done)
