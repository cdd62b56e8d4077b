"""Holds clients outside Django, under ASGI: clients that wait, and clients that read a stream."""

import asyncio
import math
import random
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from async_reply.estimates import forecasts
from async_reply.logs import logger
from async_reply.models import Operation
from async_reply.protocol import headers
from async_reply.status import FINAL
from async_reply.waiting import events, ticker, tickets
from async_reply.waiting.answers import Answer, ask, replaced
from async_reply.waiting.connection import Connection
from async_reply.waiting.executor import executor
from async_reply.waiting.registry import ClientRegistry
from async_reply.waiting.scopes import Message, Scope, follow_up

#: Comments that are due on several streams within these seconds are sent together.
COMMENT_INTERVAL_SECONDS = 0.25


class WaitingClient:
    """A client that waits for the end of an operation, or for the next event of its log."""

    def __init__(self, ticket: tickets.Wait) -> None:
        self._loop = asyncio.get_running_loop()
        self._ticket = ticket
        #: The answers shared by the waiters of the end; None if the operation has not ended.
        self.ended: asyncio.Future[ticker.SharedAnswers | None] = self._loop.create_future()

    def _end(self, shared: ticker.SharedAnswers | None) -> None:
        if not self.ended.done():
            self.ended.set_result(shared)

    def close(self) -> None:
        """End the wait before the operation has ended."""
        self._end(None)

    def tell(self, row: Operation | None, shared: ticker.SharedAnswers) -> None:
        """Called by the ticker, in its thread."""
        if self._ticket.ends_by(row):
            self._loop.call_soon_threadsafe(self._end, shared)


async def hold(
    ticket: tickets.Wait,
    answer: Answer,
    connection: Connection,
    registry: ClientRegistry,
    application: Any,
) -> None:
    """Send an answer when the operation has ended, the time is over or the server stops.

    A submit gets its result by `application`, or else its first `answer`, the 202.
    """
    async with connection.while_connected():
        shared = await _wait(ticket, registry)
        if not isinstance(ticket, tickets.Submit):
            scope = follow_up(connection.scope, ticket.url)
            answer = await ask(scope, ticket.caller, {} if shared is None else shared)
    if connection.is_gone:
        return
    if isinstance(ticket, tickets.Submit):
        if shared is not None and await _send_result(ticket, answer, connection, application):
            return
        answer = await _with_new_retry_after(ticket, answer)
    await answer.applied(ticket).send(connection.send)


async def _wait(ticket: tickets.Wait, registry: ClientRegistry) -> ticker.SharedAnswers | None:
    """Return the shared answers when the operation has ended, None if it did not end in time."""
    if ticker.has_ended(ticket.operation):
        return {}
    client = WaitingClient(ticket)
    timer = asyncio.get_running_loop().call_later(ticket.seconds, client.close)
    waiter = ticket.waiter(client.tell)
    try:
        with registry.waiting(client, ticket.caller), ticker.ticker.watching(waiter):
            return await client.ended
    finally:
        timer.cancel()


async def _with_new_retry_after(ticket: tickets.Submit, accepted: Answer) -> Answer:
    """The 202 with a Retry-After of now, or as it is: no error may hide that it was accepted."""
    estimate = partial(forecasts.retry_after_wait, ticket.operation)
    try:
        seconds = await asyncio.wrap_future(executor.submit(ticket.caller, estimate))
    except Exception:
        text = "Operation id=%s kind=%s no new Retry-After for a submit that waited"
        logger.warning(text, ticket.operation.pk, ticket.operation.kind, exc_info=True)
        return accepted
    return accepted.having({headers.RETRY_AFTER: str(seconds)})


async def _send_result(
    ticket: tickets.Submit, accepted: Answer, connection: Connection, application: Any
) -> bool:
    """Pass the answer of the result's view on to the client, of any size.

    False, and nothing is sent, if there is no such answer. The credentials may be good for the
    submit alone, or the project's code may fail. The operation is accepted nevertheless.
    """
    values = {name: accepted.field(name.lower().encode("ascii")) for name in headers.KEY_ANSWERS}
    kept = {name: value for name, value in values.items() if value}
    scope = follow_up(connection.scope, ticket.url)
    handover: tickets.Handover = scope[tickets.HANDOVER_KEY]
    has_started = False

    async def pass_on(message: Message) -> None:
        nonlocal has_started
        if message["type"] == "http.response.start":
            has_started = handover.is_result and message["status"] < 500
            answer = Answer(fields=message["headers"]).applied(ticket)
            message["headers"] = answer.having(
                {headers.CONTENT_LOCATION: ticket.url, **kept}
            ).fields
        if has_started:
            await connection.send(message)

    connection.restart()
    try:
        await application(scope, connection.receive, pass_on)
    except Exception:
        if has_started:
            raise
        text = "Operation id=%s kind=%s a submit that waited could not get its result"
        logger.exception(text, ticket.operation.pk, ticket.operation.kind)
    return has_started or connection.is_gone


class StreamingClient:
    """A client that reads a stream: it is told of changes, and asks Django for their events.

    Of changes a client that reads slowly gets only the last of those that it missed. Of a log it
    gets page after page.
    """

    def __init__(self, ticket: tickets.Stream, scope: Scope) -> None:
        self._loop = asyncio.get_running_loop()
        self._ticket = ticket
        self._scope = scope
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
        self._loop.call_soon_threadsafe(self._take_news, newest, shared)

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
        answer = await ask(
            follow_up(self._scope, self._ticket.url, seen=seen), self._ticket.caller, self._shared
        )
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
