"""Clients that are parked: those that wait for an answer, and those that read a stream."""

import asyncio
import math
import random
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from enum import Enum
from functools import partial
from typing import Any, Protocol

from django.db import Error

from async_reply import forecasts, headers, parking, sse, watch
from async_reply.answers import Answer, Django, replaced
from async_reply.models import Operation
from async_reply.scopes import Message, Receive, Scope, Send, again, still
from async_reply.status import Status

#: Seconds: comments on streams that are due within them are sent at once.
TOGETHER = 0.25


class Lot(Protocol):
    """What a parked client needs of the application around it."""

    application: Any
    django: Django

    def parking(self, client: Any) -> AbstractAsyncContextManager[None]:
        """While the client is parked: `client.close()` is called when the server stops."""


class Ending(Enum):
    """Why a wait is over."""

    FINISHED = "finished"
    LEFT = "left"
    IN_VAIN = "in vain"


class Waiting:
    """A client that waits for one answer; None where it is to be had from the application."""

    def __init__(self, ticket: parking.Wait, ask: Callable[[watch.Shared], Answer] | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._ask = ask
        self.operation = ticket.operation
        self.ended: asyncio.Future[tuple[Ending, Answer | None]] = self._loop.create_future()

    def end(self, ending: Ending, answer: Answer | None = None) -> None:
        if not self.ended.done():
            self.ended.set_result((ending, answer))

    def close(self) -> None:
        self.end(Ending.IN_VAIN)

    def leave(self) -> None:
        self.end(Ending.LEFT)

    def tell(self, row: Operation | None, shared: watch.Shared) -> None:
        """For the ticker, in its thread."""
        self.operation = row or self.operation
        if watch.is_over(row):
            answer = self._ask(shared) if self._ask else None
            self._loop.call_soon_threadsafe(self.end, Ending.FINISHED, answer)


async def hold(
    lot: Lot, ticket: parking.Wait, answer: Answer, scope: Scope, receive: Receive, send: Send
) -> None:
    """Answer when the operation has finished, time is over or the server stops."""
    is_submit = isinstance(ticket, parking.Submit)
    ask = partial(lot.django.ask, again(scope, ticket.url))
    client = Waiting(ticket, None if is_submit else ask)
    waiter = watch.Waiter(ticket.operation.pk, ticket.operation.version, client.tell)
    timer = asyncio.get_running_loop().call_later(ticket.seconds, client.close)
    try:
        async with lot.parking(client), listening(receive, client.leave):
            with watch.ticker.watching(waiter):
                ending, told = await client.ended
    finally:
        timer.cancel()
    if ending is Ending.LEFT:
        return
    if told is not None:
        answer = told
    elif not is_submit:
        answer = await in_ticker(partial(ask, {}))
    elif ending is Ending.FINISHED:
        if await reply(lot, ticket, answer, scope, receive, send):
            return
    else:
        with suppress(Error):
            seconds = await in_ticker(partial(forecasts.retry_after, client.operation))
            answer = answer.having({"Retry-After": str(seconds)})
    await answer.applied(ticket.seconds).send(send)


async def reply(
    lot: Lot, ticket: parking.Wait, accepted: Answer, scope: Scope, receive: Receive, send: Send
) -> bool:
    """Pass on what the result's URL answers, large or small; False where it is no reply."""
    told = {name: accepted.field(name.lower().encode("ascii")) for name in headers.OF_THE_KEY}
    new = {"Content-Location": ticket.url, **{name: told[name] for name in told if told[name]}}
    first = iter([{"type": "http.request", "body": b"", "more_body": False}])
    passed = True

    async def heard() -> Message:
        return next(first, None) or await receive()

    async def take(message: Message) -> None:
        nonlocal passed
        if message["type"] == "http.response.start":
            passed = headers.is_reply(message["status"])
            answer = Answer(fields=message["headers"]).applied(ticket.seconds)
            message["headers"] = answer.having(new).fields
        if passed:
            await send(message)

    await lot.application(again(scope, ticket.url), heard, take)
    return passed


class Reader:
    """A client that reads a stream; of the events it is slow to take it gets the last."""

    def __init__(self, ticket: parking.Stream, may_read: parking.MayRead) -> None:
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._chunk = b""
        self._life = self._loop.call_later(ticket.seconds, self.close)
        self._beat: asyncio.TimerHandle | None = None
        self.is_over = False
        self.feed = parking.Feed(ticket, self._put, may_read=may_read)

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
        if event:
            self._chunk = sse.instead(event, self._chunk, Status.RUNNING)
        self.is_over = self.is_over or is_last
        self._news.set()

    def _keep_alive(self) -> None:
        self._chunk = self._chunk or sse.KEEP_ALIVE
        self._news.set()


async def stream(
    lot: Lot, ticket: parking.Stream, answer: Answer, scope: Scope, receive: Receive, send: Send
) -> None:
    """Send an event for each change until the operation has finished."""

    def may_read(row: Operation, shared: watch.Shared) -> bool:
        return lot.django.ask(still(scope, row), shared).code < 300

    reader = Reader(ticket, may_read)
    waiter = watch.Waiter(ticket.operation.pk, ticket.operation.version, reader.feed.tell)
    fields = replaced(answer.fields, ["Content-Length"], {})
    try:
        await send({"type": "http.response.start", "status": answer.code, "headers": fields})
        await _send_part(send, await in_ticker(reader.feed.first))
        reader.is_over = reader.is_over or watch.is_over(ticket.operation)
        async with lot.parking(reader), listening(receive, reader.leave):
            with watch.ticker.watching(waiter):
                while chunk := await reader.next():
                    await _send_part(send, chunk)
    finally:
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
