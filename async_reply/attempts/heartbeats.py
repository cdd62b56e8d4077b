"""The thread that renews the leases of all attempts running in this process.

It also writes the progress and the events of their jobs, and learns that an attempt was canceled or
lost.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from django.db import Error

from async_reply.attempts import outages
from async_reply.attempts.claims import BEAT_SECONDS, Claim, beat
from async_reply.database import disconnect, errors, pooling
from async_reply.logs import logger
from async_reply.models import Operation


class Heart:
    """One thread that beats for all claims of its process, and sleeps while there are none."""

    def __init__(self) -> None:
        self._claims: list[Claim] = []
        self._is_failing = False
        #: Whether the thread waits without an end. Otherwise it looks at all claims within a beat.
        self._is_idle = False
        self._was_locked = False  # whether the last step found a locked row
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
            if self._is_idle:
                # Waking it for each of many short jobs takes a tenth of their time.
                self._changed.notify()

    def remove(self, claim: Claim) -> None:
        with self._changed:
            self._claims.remove(claim)

    def wake(self) -> None:
        """A job has emitted an event: look when it is to be written."""
        with self._changed:
            self._changed.notify()

    def _run(self) -> None:
        pooling.leave_pool()
        beat_at = time.monotonic() + BEAT_SECONDS
        while True:
            with self._changed:
                if not self._claims:
                    self._is_failing = self._was_locked = False
                    disconnect()
                    self._is_idle = True
                    self._changed.wait_for(lambda: self._claims)
                    self._is_idle = False
                    beat_at = time.monotonic() + BEAT_SECONDS
                emitting = self._wait(beat_at)
            if emitting:
                self._succeeds(partial(_write_events, emitting))
            else:
                beat_at = time.monotonic() + self._beat()

    def _wait(self, beat_at: float) -> list[Claim]:
        """Wait until a beat is due, or until events are: the claims whose events are due."""
        while (now := time.monotonic()) < beat_at:
            due_at = {claim: claim.events.due_at for claim in self._claims}
            if emitting := [claim for claim in due_at if due_at[claim] <= now]:
                return emitting
            self._changed.wait(min([beat_at, *due_at.values()]) - now)
        return []

    def _beat(self) -> float:
        """Beat once for all claims; the seconds until the next beat."""
        with self._changed:
            claims = list(self._claims)
        for claim in claims:
            claim.check_clock()
        if not claims or self._succeeds(partial(beat, claims)):
            return BEAT_SECONDS
        for claim in claims:
            claim.miss_beat()
        return outages.PAUSE_SECONDS

    def _succeeds(self, step: Callable[[], None]) -> bool:
        """Whether `step` raised nothing. The thread goes on after any error."""
        try:
            step()
        except Exception as error:  # noqa: BLE001 as the first line says
            if errors.is_locked(error) and not self._was_locked:
                # The row's own job stores its outcome, or a client cancels it.
                self._was_locked = True
                return False
            disconnect()
            level = logging.DEBUG if self._is_failing else logging.WARNING
            logger.log(level, "Heartbeat failed, it is tried again: %s", error)
            self._is_failing = True
            return False
        self._is_failing = self._was_locked = False
        return True


def _write_events(claims: list[Claim]) -> None:
    """Let each claim write its events. Errors come last."""
    failure: Error | None = None
    for claim in claims:
        try:
            claim.write_events()
        except Error as error:
            failure = error
    if failure is not None:
        raise failure


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
    heart = _heart
    wake = None if inline else heart.wake
    claim = Claim(operation, inline=inline, interrupt=interrupt, wake=wake)
    if inline:
        yield claim
        return
    heart.add(claim)
    try:
        yield claim
    finally:
        heart.remove(claim)
