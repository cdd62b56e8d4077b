"""The ASGI application around Django's: it holds the clients that wait, outside Django."""

import asyncio
import signal
import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from async_reply import conf
from async_reply.waiting.admission import Admission, DirectAdmission
from async_reply.waiting.answers import Answer, is_plain_django
from async_reply.waiting.callers import KnownCallers
from async_reply.waiting.clients import hold
from async_reply.waiting.connection import Connection
from async_reply.waiting.registry import ClientRegistry
from async_reply.waiting.scopes import (
    Message,
    Receive,
    Scope,
    Send,
    is_about_to_wait,
    without_body,
)
from async_reply.waiting.streams import stream
from async_reply.waiting.ticker import has_ended
from async_reply.waiting.tickets import HANDOVER_KEY, Handover, Stream, Submit, Ticket, Wait


class WaitingApplication:
    """Passes each request to the `wrapped` application, and holds the clients with a ticket."""

    def __init__(self, wrapped: Any) -> None:
        self.wrapped = wrapped
        self.registry = ClientRegistry()
        self._known_callers = KnownCallers()
        # Made when they are used: the settings are read when a request comes.
        self._admission: Admission | None = None
        self._direct_admission: DirectAdmission | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self.wrapped(scope, self._closing_on_shutdown(receive), send)
        else:
            await self.wrapped(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Before any client waits: a signal may come while the first request is on its way.
        self._close_on_signals()
        is_closed = self.registry.is_closed
        handover = Handover(can_hold=not is_closed, is_stopping=is_closed)
        connection = Connection(scope, receive, send)
        if handover.can_hold and conf.get("WAIT_THREADS") and is_about_to_wait(scope):
            async with connection:
                answer = await self._admit(handover, connection)
                if not connection.is_gone:
                    await self._hold_or_answer(handover, answer, connection)
            return
        answer = Answer()

        async def take(message: Message) -> None:
            if handover.ticket is None:
                await send(message)
            else:
                answer.take(message)

        await self.wrapped({**scope, HANDOVER_KEY: handover}, receive, take)
        if handover.caller is not None:
            self._known_callers.remember(scope, handover.caller)
        if handover.ticket is not None:
            async with connection:
                await self._hold_or_answer(handover, answer, connection)

    async def _admit(self, handover: Handover, connection: Connection) -> Answer:
        """The wrapped application's answer to a GET that is about to wait.

        Few of these requests are inside Django at a time, even if thousands of clients come back
        at once. They use threads that keep their database connections.
        """
        path = self._known_callers.path(connection.scope)
        scope = {**without_body(connection.scope), HANDOVER_KEY: handover}
        answer = Answer()
        if is_plain_django(self.wrapped):
            async with connection.while_connected():
                if self._direct_admission is None:
                    self._direct_admission = DirectAdmission(conf.get("WAIT_THREADS"))
                answer = await self._direct_admission.ask(scope, path)
            return answer

        async def take(message: Message) -> None:
            answer.take(message)

        if self._admission is None:
            self._admission = Admission(max_per_caller=conf.get("WAIT_THREADS"))
        thread = None
        async with connection.while_connected():
            thread = await self._admission.acquire(path)
        if thread is not None:
            with self._admission.using(thread):
                await self.wrapped(scope, connection.receive, take)
        return answer

    async def _hold_or_answer(
        self, handover: Handover, answer: Answer, connection: Connection
    ) -> None:
        """Hold the client if its ticket fits the answer; otherwise send the answer at once."""
        ticket = handover.ticket
        if ticket is not None:
            self._known_callers.remember(connection.scope, ticket.caller)
        elif answer.code in (401, 403):
            self._known_callers.forget(connection.scope)
        may_wait = ticket is not None and self._may_wait(ticket, answer)
        if may_wait and isinstance(ticket, Wait) and answer.code in (200, 202, 304):
            await hold(ticket, answer, connection, self.registry, self.wrapped)
        elif may_wait and isinstance(ticket, Stream) and answer.code == 200:
            await stream(ticket, answer, connection, self.registry)
        else:
            await answer.send(connection.send)

    def _may_wait(self, ticket: Ticket, answer: Answer) -> bool:
        if isinstance(ticket, Submit) and answer.field(b"operation-id") != str(ticket.operation.pk):
            return False  # the view has replaced the 202 by an answer of its own
        if has_ended(ticket.operation):
            return True
        return conf.get("WAIT_THREADS") > 0 and self.registry.has_room(ticket.caller)

    def _closing_on_shutdown(self, receive: Receive) -> Receive:
        async def receive_and_close() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                self.registry.close()
            return message

        return receive_and_close

    def _close_on_signals(self) -> None:
        """A server waits for open connections before it sends the shutdown: too late for us."""
        if threading.current_thread() is not threading.main_thread():
            return
        for signum in (signal.SIGTERM, signal.SIGINT):
            handler = signal.getsignal(signum)
            if callable(handler) and not isinstance(handler, _SignalHandler):
                handler = _SignalHandler(handler)
                signal.signal(signum, handler)
            if isinstance(handler, _SignalHandler):
                handler.loops[self.registry] = asyncio.get_running_loop()


class _SignalHandler:
    """Closes the registries of all applications of a process, then calls the server's handler."""

    def __init__(self, server_handler: Callable[..., Any]) -> None:
        self._server_handler = server_handler
        #: The event loop that serves the clients of each registry.
        self.loops: WeakKeyDictionary[ClientRegistry, asyncio.AbstractEventLoop] = (
            WeakKeyDictionary()
        )

    def __call__(self, *arguments: Any) -> Any:
        for registry, loop in list(self.loops.items()):
            if not loop.is_closed():
                loop.call_soon_threadsafe(registry.close)
        return self._server_handler(*arguments)
