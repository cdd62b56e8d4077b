"""Holds clients that wait outside Django, under ASGI."""

import asyncio
from functools import partial
from typing import Any

from async_reply.estimates import forecasts
from async_reply.logs import logger
from async_reply.models import Operation
from async_reply.protocol import headers
from async_reply.waiting import ticker, tickets
from async_reply.waiting.answers import Answer, ask
from async_reply.waiting.connection import Connection
from async_reply.waiting.executor import executor
from async_reply.waiting.registry import ClientRegistry
from async_reply.waiting.scopes import Message, follow_up


class WaitingClient:
    """A client that waits for the end of an operation, a question, or the next event of a log."""

    def __init__(self, ticket: tickets.Wait) -> None:
        self._loop = asyncio.get_running_loop()
        self._ticket = ticket
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
        if self._ticket.ends_by(row):
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
