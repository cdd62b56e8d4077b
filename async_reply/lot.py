"""The ASGI application around Django's: it hands requests in, and parks those that wait."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from asgiref.sync import SyncToAsync, ThreadSensitiveContext

from async_reply import conf
from async_reply.answers import Answer, Django
from async_reply.parked import hold, stream
from async_reply.parking import KEY, Parking, Stream, Wait
from async_reply.scopes import Message, Receive, Scope, Send, is_about_to_wait


class Client(Protocol):
    """Somebody who is parked."""

    def close(self) -> None:
        """Tell it what there is to tell, since the server stops."""


class ParkingLot:
    """An ASGI application that is another one, but for those who wait."""

    def __init__(self, application: Any) -> None:
        self.application = application
        self.django = Django()
        self.parked: set[Client] = set()
        self._closing = False
        self._lanes: asyncio.Queue[ThreadSensitiveContext] | None = None

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
            answer = await self.admit({**scope, KEY: place})
        else:
            answer = Answer()

            async def take(message: Message) -> None:
                if place.ticket is None:
                    await send(message)
                else:
                    answer.take(message)

            await self.application({**scope, KEY: place}, receive, take)
            if place.ticket is None:
                return
        if isinstance(place.ticket, Wait) and answer.code in (200, 202, 304):
            await hold(self, place.ticket, answer, scope, receive, send)
        elif isinstance(place.ticket, Stream) and answer.code == 200:
            await stream(self, place.ticket, answer, scope, receive, send)
        else:
            await answer.send(send)

    async def admit(self, scope: Scope) -> Answer:
        """What the application answers a GET that has no body, and is about to be parked.

        Such requests pass one behind the other, in threads that are kept, and their connections
        with them: thousands that come back at a time take no more than these.
        """
        answer = Answer()
        messages = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> Message:
            for message in messages:
                return message
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

        async def take(message: Message) -> None:
            answer.take(message)

        async with self._lane():
            await self.application(scope, receive, take)
        return answer

    @asynccontextmanager
    async def _lane(self) -> AsyncIterator[None]:
        if self._lanes is None:
            self._lanes = asyncio.Queue()
            for _ in range(max(1, conf.get("WAIT_THREADS"))):
                self._lanes.put_nowait(ThreadSensitiveContext())
        lane = await self._lanes.get()
        token = SyncToAsync.thread_sensitive_context.set(lane)
        try:
            yield
        finally:
            SyncToAsync.thread_sensitive_context.reset(token)
            self._lanes.put_nowait(lane)

    @asynccontextmanager
    async def parking(self, client: Client) -> AsyncIterator[None]:
        """While the client is parked it is told when the server stops."""
        self.parked.add(client)
        if self._closing:  # since it came
            client.close()
        try:
            yield
        finally:
            self.parked.discard(client)

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
