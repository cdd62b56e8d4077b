"""How a running attempt keeps its lease, shows its progress and hears of its end."""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from async_reply.attempts.claims import TICK, Claim, beat
from async_reply.database import disconnect, pooling
from async_reply.logs import logger
from async_reply.models import Operation

TICK_AFTER_ERROR = 0.5


class Ticker:
    """One thread that beats for all claims of this process; it sleeps while there are none."""

    def __init__(self) -> None:
        self._claims: list[Claim] = []
        self._is_failing = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, claim: Claim) -> None:
        with self._changed:
            self._claims.append(claim)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._run, name="async_reply-heartbeat", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def remove(self, claim: Claim) -> None:
        with self._changed:
            self._claims.remove(claim)

    def _run(self) -> None:
        pooling.leave_pool()
        pause = TICK
        while True:
            with self._changed:
                while not self._claims:
                    self._is_failing = False
                    disconnect()
                    self._changed.wait()
            time.sleep(pause)
            pause = self._tick()

    def _tick(self) -> float:
        """One beat for all; the seconds until the next."""
        with self._changed:
            claims = list(self._claims)
        for claim in claims:
            claim.heed_clock()
        try:
            if claims:
                beat(claims)
        except Exception as error:  # noqa: BLE001 a heartbeat outlives whatever a database does
            disconnect()
            level = logging.DEBUG if self._is_failing else logging.WARNING
            logger.log(level, "Heartbeat failed, it is tried again: %s", error)
            self._is_failing = True
            for claim in claims:
                claim.miss()
            return TICK_AFTER_ERROR
        self._is_failing = False
        return TICK


_ticker = Ticker()


def _forget_parent() -> None:
    """A forked child has none of its parent's threads."""
    global _ticker
    _ticker = Ticker()


os.register_at_fork(after_in_child=_forget_parent)


@contextmanager
def hold(operation: Operation, *, inline: bool, interrupt: bool = False) -> Iterator[Claim]:
    """Keep the claim alive in a thread; `inline`, at each of the job's calls instead.

    With `interrupt` the job is also told between its calls, where it runs in the main thread.
    """
    claim = Claim(operation, inline=inline, interrupt=interrupt)
    if inline:
        yield claim
        return
    ticker = _ticker
    ticker.add(claim)
    try:
        yield claim
    finally:
        ticker.remove(claim)
