"""What keeps operations from being lost or kept for ever, inside every worker."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from async_reply import conf, database, lifecycle
from async_reply.attempts import claims
from async_reply.database import errors, pooling, schema
from async_reply.logs import logger
from async_reply.worker import forks

LONGEST_PAUSE = 5.0


@dataclass
class Step:
    """Something done each `every` seconds, less often while it finds nothing to do.

    `rescues`: it judges others by their leases, so it waits for a lease after trouble.
    `publishes`: it waits for the broker too, which says nothing of the database.
    `drains`: it goes on at once while it finds whole batches.
    """

    name: str
    every: float
    function: Callable[[], int]
    rescues: bool = False
    publishes: bool = False
    drains: bool = False
    due_at: float = 0.0
    pause: float = field(init=False)

    def __post_init__(self) -> None:
        self.pause = self.every

    def schedule(self, *, found: int) -> None:
        longest = max(self.every, LONGEST_PAUSE)
        self.pause = self.every if found else min(longest, self.pause * 2)
        pause = 0 if self.drains and found >= conf.get("BATCH") else self.pause
        self.due_at = time.monotonic() + pause * random.uniform(0.8, 1.0)  # noqa: S311


class Maintenance(threading.Thread):
    """A daemon thread that runs `steps`; whatever one raises, all go on.

    `farewell` is called once it is stopped, by itself: whoever stops it waits for seconds at most.
    """

    def __init__(self, steps: list[Step], *, farewell: Callable[[], object] = lambda: None) -> None:
        super().__init__(name="async_reply-maintenance", daemon=True)
        self.steps = steps
        self._farewell = farewell
        self._stopping = threading.Event()
        self._trusted_from = 0.0
        self._failing: set[str] = set()

    def run(self) -> None:
        pooling.leave_pool()
        while not self._stopping.is_set():
            self.turn()
            pause = min(step.due_at for step in self.steps) - time.monotonic()
            if pause > LONGEST_PAUSE:
                database.disconnect()
            self._stopping.wait(max(0.05, pause))
        with forks.held_off():
            try:
                self._farewell()
            except Exception as error:  # noqa: BLE001 a worker that stops has done its work
                logger.warning("Maintenance ends without its farewell: %s", error)
        database.disconnect()

    def stop(self, timeout: float = 5.0) -> None:
        self._stopping.set()
        if self.is_alive():
            self.join(timeout)

    def turn(self) -> int:
        """Run what is due; how much it found to do."""
        found = 0
        for step in self.steps:
            if time.monotonic() >= step.due_at and not self._stopping.is_set():
                with forks.held_off():
                    found += self._run(step)
        return found

    def _run(self, step: Step) -> int:
        started = time.monotonic()
        found, away = 0, False
        if not (step.rescues and started < self._trusted_from):
            try:
                found = step.function()
                self._failing -= {step.name, schema.REMEDY}
            except Exception as error:  # noqa: BLE001 nothing here may take a worker down
                self._fail(step, error)
                away = errors.is_away(error)
        waited = not step.publishes and time.monotonic() - started > claims.renewal_seconds()
        # After an outage all leases are over at once: healthy jobs must get to renew theirs.
        if away or waited:
            self._trusted_from = time.monotonic() + lifecycle.lease()
        step.schedule(found=found)
        return found

    def _fail(self, step: Step, error: Exception) -> None:
        # Without tables all steps fail alike: one line says what to do.
        behind = schema.is_behind(error)
        about = schema.REMEDY if behind else step.name
        if about not in self._failing and behind:
            logger.warning("Maintenance waits. %s", schema.REMEDY)
        elif about not in self._failing:
            logger.warning("Maintenance step %s failed, it goes on", step.name, exc_info=error)
        self._failing.add(about)
        database.disconnect()
