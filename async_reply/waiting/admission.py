"""The lanes by which requests that are about to wait pass through Django under ASGI."""

import asyncio
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from asgiref.sync import SyncToAsync, ThreadSensitiveContext

from async_reply.waiting.fair_queue import Turns


@dataclass(frozen=True)
class Lane:
    """A thread for synchronous code, which it keeps with its database connections."""

    caller: Hashable
    context: ThreadSensitiveContext


class Lanes:
    """A few lanes, however many come at a time; each caller in turn gets the next that is free.

    One caller has `most` at a time; there is one more, which it leaves to others.
    """

    def __init__(self, most: int) -> None:
        self._free = [ThreadSensitiveContext() for _ in range(most + 1)]
        self._turns: Turns[asyncio.Future[Lane]] = Turns(most)

    async def enter(self, turn: Sequence[Hashable]) -> Lane:
        """Wait for a lane, to be used by `passing`; who is cancelled has left the queue."""
        ready: asyncio.Future[Lane] = asyncio.get_running_loop().create_future()
        self._turns.put(turn, ready)
        self._serve()
        try:
            lane = await ready
        except asyncio.CancelledError:
            if not ready.cancelled():
                self._leave(ready.result())
            raise
        return lane

    @contextmanager
    def passing(self, lane: Lane) -> Iterator[None]:
        """Synchronous code of the block runs in the lane, which is left at its end."""
        token = SyncToAsync.thread_sensitive_context.set(lane.context)
        try:
            yield
        finally:
            SyncToAsync.thread_sensitive_context.reset(token)
            self._leave(lane)

    def _leave(self, lane: Lane) -> None:
        self._free.append(lane.context)
        self._turns.done(lane.caller)
        self._serve()

    def _serve(self) -> None:
        while self._free and (taken := self._turns.take()) is not None:
            caller, ready = taken
            if ready.cancelled():
                self._turns.done(caller)
            else:
                ready.set_result(Lane(caller, self._free.pop()))
