"""The ASGI application around Django's: it hands requests in, and parks those that wait."""

import asyncio
import signal
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from async_reply import conf
from async_reply.waiting.admission import Lanes
from async_reply.waiting.answers import Answer
from async_reply.waiting.callers import Acquaintances, Caller
from async_reply.waiting.clients import Connection, hold, stream
from async_reply.waiting.scopes import (
    Message,
    Receive,
    Scope,
    Send,
    is_about_to_wait,
    without_body,
)
from async_reply.waiting.tickets import KEY, Parking, Stream, Submit, Wait

#: How many clients of one caller are parked at most; the next are answered at once.
PARKED_OF_ONE = 5_000


class Client(Protocol):
    """Somebody who is parked."""

    def close(self) -> None:
        """Tell it what there is to tell, since the server stops."""


class ParkingLot:
    """An ASGI application that is another one, but for those who wait."""

    def __init__(self, application: Any) -> None:
        self.application = application
        self.parked: set[Client] = set()
        self._parked_of: Counter[Caller] = Counter()
        self._acquaintances = Acquaintances()
        self._closing = False
        self._lanes: Lanes | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self.application(scope, self._hearing_shutdown(receive), send)
        else:
            await self.application(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Before anybody parks: a signal may come while the first is on its way.
        self._hear_signals()
        place = Parking(offers=not self._closing, refuses=self._closing)
        if place.offers and is_about_to_wait(scope):
            async with Connection(receive) as client:
                answer = await self._admit({**without_body(scope), KEY: place}, client)
                if not client.is_gone:
                    await self._attend(place, answer, scope, client, send)
            return
        answer = Answer()

        async def take(message: Message) -> None:
            if place.ticket is None:
                await send(message)
            else:
                answer.take(message)

        await self.application({**scope, KEY: place}, receive, take)
        if place.caller is not None:
            self._acquaintances.remember(scope, place.caller)
        if place.ticket is not None:
            async with Connection(receive) as client:
                await self._attend(place, answer, scope, client, send)

    async def _admit(self, scope: Scope, client: Connection) -> Answer:
        """What the application answers a GET that is about to be parked.

        Such requests pass by a few lanes, in threads that are kept, and their connections with
        them: thousands that come back at a time take no more than these.
        """
        answer = Answer()

        async def take(message: Message) -> None:
            answer.take(message)

        if self._lanes is None:
            self._lanes = Lanes(max(1, conf.get("WAIT_THREADS")))
        lane = None
        async with client.staying():
            lane = await self._lanes.enter(self._acquaintances.turn(scope))
        if lane is not None:
            with self._lanes.passing(lane):
                await self.application(scope, client.receive, take)
        return answer

    async def _attend(
        self, place: Parking, answer: Answer, scope: Scope, client: Connection, send: Send
    ) -> None:
        """Park the client whose ticket fits its answer; others are answered at once."""
        ticket = place.ticket
        if ticket is not None:
            self._acquaintances.remember(scope, ticket.caller)
        elif answer.code in (401, 403):
            self._acquaintances.forget(scope)
        has_room = ticket is not None and self._parked_of[ticket.caller] < PARKED_OF_ONE
        if isinstance(ticket, Submit) and answer.field(b"operation-id") != str(ticket.operation.pk):
            # The view has answered something of its own.
            has_room = False
        if has_room and isinstance(ticket, Wait) and answer.code in (200, 202, 304):
            await hold(self, ticket, answer, scope, client, send)
        elif has_room and isinstance(ticket, Stream) and answer.code == 200:
            await stream(self, ticket, answer, scope, client, send)
        else:
            await answer.send(send)

    @asynccontextmanager
    async def parking(self, client: Client, caller: Caller) -> AsyncIterator[None]:
        """While the client is parked it is told when the server stops."""
        self.parked.add(client)
        self._parked_of[caller] += 1
        if self._closing:  # since it came
            client.close()
        try:
            yield
        finally:
            self.parked.discard(client)
            self._parked_of[caller] -= 1
            if not self._parked_of[caller]:
                del self._parked_of[caller]

    def close(self) -> None:
        """Answer everybody with what there is; whoever comes later does not wait."""
        self._closing = True
        for client in list(self.parked):
            client.close()

    def _hearing_shutdown(self, receive: Receive) -> Receive:
        async def heard() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                self.close()
            return message

        return heard

    def _hear_signals(self) -> None:
        """Servers wait for open connections before they tell of the shutdown: too late for us."""
        if threading.current_thread() is not threading.main_thread():
            return
        for signum in (signal.SIGTERM, signal.SIGINT):
            handler = signal.getsignal(signum)
            if callable(handler) and not isinstance(handler, _Heard):
                handler = _Heard(handler)
                signal.signal(signum, handler)
            if isinstance(handler, _Heard):
                handler.loops[self] = asyncio.get_running_loop()


class _Heard:
    """A signal handler in front of the server's own, for all the lots of a process."""

    def __init__(self, before: Callable[..., Any]) -> None:
        self._before = before
        self.loops: WeakKeyDictionary[ParkingLot, asyncio.AbstractEventLoop] = WeakKeyDictionary()

    def __call__(self, *arguments: Any) -> Any:
        for lot, loop in list(self.loops.items()):
            if not loop.is_closed():
                loop.call_soon_threadsafe(lot.close)
        return self._before(*arguments)
