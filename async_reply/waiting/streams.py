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
from async_reply.waiting.answers import Answer, Question, ask, question, replaced
from async_reply.waiting.connection import Connection
from async_reply.waiting.mailboxes import mailbox
from async_reply.waiting.registry import ClientRegistry
from async_reply.waiting.scopes import Scope, follow_up, identity

#: Comments that are due on several streams within these seconds are sent together.
COMMENT_INTERVAL_SECONDS = 0.25
#: The earliest comment, as a part of KEEP_ALIVE_SECONDS: not all streams get theirs at once.
EARLIEST_COMMENT = 0.9


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
        #: The number of the newest event, of the newest that the client has asked for, and of the
        #: newest for which Django had no answer.
        self._newest = ticket.seen.newest(ticket.operation)
        self._asked_for = 0
        self._unanswered = 0
        self._shared: ticker.SharedAnswers = {}
        #: Done when the client's task has something to do; None while the task writes.
        self._woken: asyncio.Future[None] | None = None
        #: The question whose answer wakes the task.
        self._asked: Question | None = None
        self._is_comment_due = False
        self._quiet_since = self._loop.time()
        self._end_timer = self._loop.call_later(ticket.seconds, self.close)
        self._comment_timer = self._loop.call_at(self._comment_at(), self._comment)
        self.is_over = ticket.is_over

    def close(self) -> None:
        """End the stream, after the answer if the client has asked."""
        self.is_over = True
        self._wake()

    def stop_timers(self) -> None:
        self._end_timer.cancel()
        self._comment_timer.cancel()

    def tell(self, row: Operation | None, shared: ticker.SharedAnswers) -> None:
        """Called by the ticker, in its thread."""
        newest = None if row is None else self._ticket.seen.newest(row)
        self._mailbox.put(self._take_news, newest, shared)

    def _take_news(self, newest: int | None, shared: ticker.SharedAnswers) -> None:
        if newest is None:
            self.close()
        else:
            self._newest, self._shared = newest, shared
            self._ask_if_behind()

    async def next(self) -> bytes:
        """The next events, a comment if none comes for long, or nothing at the end."""
        self._quiet_since = self._loop.time()
        self._is_comment_due = False
        body = b""
        while not (body or self.is_over):
            self._woken = self._loop.create_future()
            try:
                self._ask_if_behind()
                await self._woken
                if self._asked is not None:
                    body = await self._take_answer(self._asked)
                elif self._is_comment_due:
                    body = events.KEEP_ALIVE_COMMENT
            finally:
                self._woken = None
                if self._asked is not None:
                    self._asked.leave()
                    self._asked = None
        return body

    def _is_waiting(self) -> bool:
        """Whether the task waits, and not for an answer."""
        return self._woken is not None and self._asked is None and not self._woken.done()

    def _wake(self) -> None:
        if self._woken is not None and self._is_waiting():
            self._woken.set_result(None)

    def _ask_if_behind(self) -> None:
        """Ask for newer events. The task that waits is woken by the answer."""
        is_behind = self._newest > max(self._ticket.seen.number, self._unanswered)
        if self._woken is None or not is_behind or not self._is_waiting():
            return
        try:
            self._asked = self._question(self._shared)
        except RuntimeError as error:  # no thread can be started
            self._woken.set_exception(error)
        else:
            self._asked_for = self._newest
            self._asked.join(self._woken)

    def _question(self, shared: ticker.SharedAnswers) -> Question:
        seen = self._ticket.seen
        handover = tickets.Handover(is_follow_up=True, seen=seen)
        scope = {**self._scope, tickets.HANDOVER_KEY: handover}
        return question(scope, self._ticket.caller, shared, key=(self._identity, seen))

    async def _take_answer(self, asked: Question) -> bytes:
        """The events that are new to the client; a client that may not read them is at the end."""
        answer = asked.answer()
        if answer is None:
            answer = await ask(asked.scope, self._ticket.caller, {})
        if answer.code == 204:
            self._unanswered = self._asked_for
            return b""
        if answer.code != 200 or not isinstance(answer.ticket, tickets.Stream):
            self.is_over = True
            return b""
        self._ticket = answer.ticket
        self._newest = max(self._newest, self._ticket.seen.newest(self._ticket.operation))
        self.is_over = self.is_over or self._ticket.is_over
        return answer.body

    def _comment(self) -> None:
        """Called by a timer that goes on while events come, which is cheaper than a new one."""
        if self._loop.time() >= self._quiet_since + tickets.KEEP_ALIVE_SECONDS * EARLIEST_COMMENT:
            self._is_comment_due = True
            self._wake()
            self._quiet_since = self._loop.time()
        self._comment_timer = self._loop.call_at(self._comment_at(), self._comment)

    def _comment_at(self) -> float:
        """When to send a comment: in groups, which is cheaper than one by one or all at once."""
        part = random.uniform(EARLIEST_COMMENT, 1.0)  # noqa: S311 no secret
        at = self._quiet_since + tickets.KEEP_ALIVE_SECONDS * part
        return math.ceil(at / COMMENT_INTERVAL_SECONDS) * COMMENT_INTERVAL_SECONDS


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
        client.stop_timers()


async def _send_part(connection: Connection, chunk: bytes) -> None:
    await connection.send({"type": "http.response.body", "body": chunk, "more_body": True})
