"""Holds clients outside Django, under ASGI: clients that wait, and clients that read a stream."""

import asyncio
import math
import random
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
    """A client that waits for the end of an operation, or for a question of its job."""

    def __init__(self, known_version: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._known_version = known_version
        #: The answers shared by the waiters of the same news; None if there is none.
        self.ended: asyncio.Future[ticker.SharedAnswers | None] = self._loop.create_future()

    def _end(self, shared: ticker.SharedAnswers | None) -> None:
        if not self.ended.done():
            self.ended.set_result(shared)

    def close(self) -> None:
        """End the wait before the operation has ended."""
        self._end(None)

    def tell(self, row: Operation | None, shared: ticker.SharedAnswers) -> None:
        """Called by the ticker, in its thread."""
        if ticker.is_news(row, known_version=self._known_version):
            self._loop.call_soon_threadsafe(self._end, shared)


async def hold(
    ticket: tickets.Wait,
    answer: Answer,
    connection: Connection,
    registry: ClientRegistry,
    application: Any,
) -> None:
    """Send an answer when the operation ends or asks, the time is over or the server stops.

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
    """Return the shared answers when the operation has ended or asks, None after the time."""
    if ticker.has_ended(ticket.operation):
        return {}
    client = WaitingClient(ticket.known_version)
    waiter = ticker.Waiter(ticket.operation.pk, ticket.operation.version, client.tell)
    timer = asyncio.get_running_loop().call_later(ticket.seconds, client.close)
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
    """A client that reads a stream: it is told of new versions, and asks Django for the event.

    A client that reads slowly gets only the last of the events that it missed.
    """

    def __init__(self, ticket: tickets.Stream, scope: Scope) -> None:
        self._loop = asyncio.get_running_loop()
        self._ticket = ticket
        self._scope = scope
        self._seen = ticket.seen
        #: The newest version, and the newest when Django was asked.
        self._newest_version = self._asked_version = 0
        self._shared: ticker.SharedAnswers = {}
        self._has_news = asyncio.Event()
        self._is_comment_due = False
        self._timer = self._loop.call_later(ticket.seconds, self.close)
        self.is_over = ticket.operation.status in FINAL

    def close(self) -> None:
        """End the stream."""
        self.is_over = True
        self._has_news.set()

    def stop_timer(self) -> None:
        self._timer.cancel()

    def tell(self, row: Operation | None, shared: ticker.SharedAnswers) -> None:
        """Called by the ticker, in its thread."""
        version = None if row is None else row.version
        self._loop.call_soon_threadsafe(self._take_version, version, shared)

    def _take_version(self, version: int | None, shared: ticker.SharedAnswers) -> None:
        if version is None:
            self.close()
        else:
            self._newest_version, self._shared = version, shared
            self._has_news.set()

    async def next(self) -> bytes:
        """The next event, a comment if none comes for long, or nothing at the end."""
        while not self.is_over:
            if await self._gets_news():
                event = await self._ask()
                if event:
                    return event
            elif not self.is_over:
                return events.KEEP_ALIVE_COMMENT
        return b""

    async def _gets_news(self) -> bool:
        """Wait for a new version; False when a comment is due, or the stream is over."""
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
        return self._newest_version > max(self._seen.version, self._asked_version)

    async def _ask(self) -> bytes:
        """The event that is new to the client; a client that may not read it is at the end."""
        self._asked_version = self._newest_version
        scope = follow_up(self._scope, self._ticket.url, seen=self._seen)
        answer = await ask(scope, self._ticket.caller, self._shared)
        if answer.code == 204:
            return b""
        if answer.code != 200 or not isinstance(answer.ticket, tickets.Stream):
            self.close()
            return b""
        self._seen = answer.ticket.seen
        self.is_over = self.is_over or answer.ticket.operation.status in FINAL
        return answer.body

    def _comment_at(self) -> float:
        """When to send a comment: in groups, which is cheaper than one by one or all at once."""
        pause = tickets.KEEP_ALIVE_SECONDS * random.uniform(0.9, 1.0)  # noqa: S311 no secret
        intervals = math.ceil((self._loop.time() + pause) / COMMENT_INTERVAL_SECONDS)
        return intervals * COMMENT_INTERVAL_SECONDS


async def stream(
    ticket: tickets.Stream, answer: Answer, connection: Connection, registry: ClientRegistry
) -> None:
    """Send the first event, then one for each change until the operation has finished."""
    client = StreamingClient(ticket, connection.scope)
    waiter = ticker.Waiter(ticket.operation.pk, ticket.seen.version, client.tell)
    fields = replaced(answer.fields, [headers.CONTENT_LENGTH], {})
    start = {"type": "http.response.start", "status": answer.code, "headers": fields}
    try:
        async with connection.while_connected():
            await connection.send(start)
            await _send_part(connection, answer.body)
            with registry.waiting(client, ticket.caller), ticker.ticker.watching(waiter):
                while chunk := await client.next():
                    await _send_part(connection, chunk)
            await connection.send({"type": "http.response.body", "body": b""})
    finally:
        client.stop_timer()


async def _send_part(connection: Connection, chunk: bytes) -> None:
    await connection.send({"type": "http.response.body", "body": chunk, "more_body": True})
