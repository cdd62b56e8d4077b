"""How a running attempt keeps its lease, shows its progress and hears of its end."""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

from django.db import connections

from async_reply import lifecycle
from async_reply.exceptions import ClaimLost, JobInterrupted, OperationCanceled
from async_reply.models import Operation, database
from async_reply.status import ACTIVE, Status

logger = logging.getLogger("async_reply")

TICK = 1.0
TICK_AFTER_ERROR = 0.5

Seen = dict[UUID, tuple[str, int]]


class Claim:
    """An attempt's hold on its operation, shared by the job and whoever beats for it."""

    def __init__(self, operation: Operation, *, inline: bool) -> None:
        self.operation = operation
        self.inline = inline
        self.progress: int | None = None
        self.message = ""
        self._news = False
        self._interruption: type[JobInterrupted] | None = None
        self._renew_at = time.monotonic() + lifecycle.lease() / 3

    def report(self, progress: int | None, message: str) -> None:
        """Remember what the next beat is to show."""
        if (progress, message) != (self.progress, self.message):
            self.progress, self.message, self._news = progress, message, True

    def check(self) -> None:
        """Raise what ended this attempt from outside, if anything did."""
        if self.inline:
            beat([self])
        if self._interruption is not None:
            raise self._interruption

    def beat(self, seen: Seen) -> None:
        """Compare with the row as `seen`; write when there is news or the lease wants renewal."""
        status, attempt = seen.get(self.operation.pk, ("", 0))
        if attempt != self.operation.attempt or status not in ACTIVE:
            self._interruption = ClaimLost
            return
        if status == Status.CANCELING:
            self._interruption = OperationCanceled
        if self._news or time.monotonic() >= self._renew_at:
            self._renew()

    def _renew(self) -> None:
        news, self._news = self._news, False
        try:
            held = lifecycle.beat(
                self.operation,
                progress=self.progress if news else None,
                message=self.message if news else None,
            )
        except Exception:
            self._news = self._news or news
            raise
        if not held:
            self._interruption = ClaimLost
        self._renew_at = time.monotonic() + lifecycle.lease() / 3


def disconnect() -> None:
    """Close this thread's connection, which may be broken in a way that even this raises."""
    with suppress(Exception):
        connections[database()].close()


def beat(claims: list[Claim]) -> None:
    """One look at the rows of `claims`, then what each of them has to write."""
    rows = Operation.objects.filter(pk__in=[claim.operation.pk for claim in claims])
    seen = {
        pk: (status, attempt) for pk, status, attempt in rows.values_list("pk", "status", "attempt")
    }
    for claim in claims:
        claim.beat(seen)


class Ticker:
    """One thread that beats for all claims of this process; it sleeps while there are none."""

    def __init__(self) -> None:
        self._claims: list[Claim] = []
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
        pause = TICK
        while True:
            with self._changed:
                while not self._claims:
                    disconnect()
                    self._changed.wait()
            time.sleep(pause)
            pause = self._tick()

    def _tick(self) -> float:
        """One beat for all; the seconds until the next."""
        with self._changed:
            claims = list(self._claims)
        try:
            if claims:
                beat(claims)
        except Exception as error:  # noqa: BLE001 a heartbeat outlives whatever a database does
            logger.warning("Heartbeat failed, it is tried again: %s", error)
            disconnect()
            return TICK_AFTER_ERROR
        return TICK


_ticker = Ticker()


def _forget_parent() -> None:
    """A forked child has none of its parent's threads."""
    global _ticker
    _ticker = Ticker()


os.register_at_fork(after_in_child=_forget_parent)


@contextmanager
def hold(operation: Operation, *, inline: bool) -> Iterator[Claim]:
    """Keep the claim alive in a thread; `inline`, at each of the job's calls instead."""
    claim = Claim(operation, inline=inline)
    if inline:
        yield claim
        return
    ticker = _ticker
    ticker.add(claim)
    try:
        yield claim
    finally:
        ticker.remove(claim)
