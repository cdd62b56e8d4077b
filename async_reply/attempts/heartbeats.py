"""The thread that renews the leases of all attempts running in this process.

It also writes the progress of their jobs, and learns that an attempt was canceled or lost.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from async_reply.attempts import outages
from async_reply.attempts.claims import BEAT_SECONDS, Claim, beat
from async_reply.database import disconnect, pooling
from async_reply.logs import logger
from async_reply.models import Operation


class Heart:
    """One thread that beats for all claims of its process, and sleeps while there are none."""

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
        pause = BEAT_SECONDS
        while True:
            with self._changed:
                while not self._claims:
                    self._is_failing = False
                    disconnect()
                    self._changed.wait()
            time.sleep(pause)
            pause = self._beat()

    def _beat(self) -> float:
        """Beat once for all claims; the seconds until the next beat."""
        with self._changed:
            claims = list(self._claims)
        for claim in claims:
            claim.check_clock()
        try:
            if claims:
                beat(claims)
        except Exception as error:  # noqa: BLE001 the thread goes on after any error
            disconnect()
            level = logging.DEBUG if self._is_failing else logging.WARNING
            logger.log(level, "Heartbeat failed, it is tried again: %s", error)
            self._is_failing = True
            for claim in claims:
                claim.miss_beat()
            return outages.PAUSE_SECONDS
        self._is_failing = False
        return BEAT_SECONDS


_heart = Heart()


def _make_heart_of_child() -> None:
    """A forked child has none of its parent's threads, and needs a heart of its own."""
    global _heart
    _heart = Heart()


os.register_at_fork(after_in_child=_make_heart_of_child)


@contextmanager
def kept_alive(operation: Operation, *, inline: bool, interrupt: bool = False) -> Iterator[Claim]:
    """A claim for the block: the thread beats for it, or `inline` the job does at its calls.

    `interrupt`: the job is also interrupted between its calls, where it runs in a main thread.
    """
    claim = Claim(operation, inline=inline, interrupt=interrupt)
    if inline:
        yield claim
        return
    heart = _heart
    heart.add(claim)
    try:
        yield claim
    finally:
        heart.remove(claim)
