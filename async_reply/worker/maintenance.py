"""Runs duties in a thread, each at its own interval, inside every worker.

Duties keep operations from being lost, and from being kept for ever.
"""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from async_reply import conf, database
from async_reply.attempts import claims
from async_reply.database import errors, pooling, schema
from async_reply.database.leases import lease_seconds
from async_reply.logs import logger
from async_reply.worker import forks

#: A duty that finds no work pauses this long, if its interval is no longer. The thread closes its
#: connection before a longer pause.
LONGEST_PAUSE_SECONDS = 5.0


@dataclass
class Duty:
    """A function that is called at an interval, and less often while it finds no work.

    The function returns how many operations it changed.

    `rescues`: it takes leases for the truth. After trouble with the database it waits for a lease.
    `publishes`: it may wait for the broker. A long call then says nothing about the database.
    `drains`: it is called again at once after a full batch.
    """

    name: str
    interval_seconds: float
    function: Callable[[], int]
    rescues: bool = False
    publishes: bool = False
    drains: bool = False
    due_at: float = 0.0
    pause_seconds: float = field(init=False)

    def __post_init__(self) -> None:
        self.pause_seconds = self.interval_seconds

    @property
    def keeps_connection(self) -> bool:
        """Whether its thread never pauses for so long that it closes its connection."""
        return self.interval_seconds <= LONGEST_PAUSE_SECONDS

    def schedule(self, *, changed: int) -> None:
        """Set when the duty is due again, after a call that changed so many operations."""
        longest = max(self.interval_seconds, LONGEST_PAUSE_SECONDS)
        doubled = min(longest, self.pause_seconds * 2)
        self.pause_seconds = self.interval_seconds if changed else doubled
        pause = 0 if self.drains and changed >= conf.get("BATCH") else self.pause_seconds
        self.due_at = time.monotonic() + pause * random.uniform(0.8, 1.0)  # noqa: S311


class Maintenance(threading.Thread):
    """A daemon thread that runs `duties`. An error of one duty stops neither it nor the others.

    The thread calls `on_stop` when it ends. `stop()` waits for that for seconds at most.
    """

    def __init__(self, duties: list[Duty], *, on_stop: Callable[[], object] = lambda: None) -> None:
        super().__init__(name="async_reply-maintenance", daemon=True)
        self.duties = duties
        self._on_stop = on_stop
        self._stopping = threading.Event()
        self._leases_trusted_from = 0.0
        self._failing: set[str] = set()

    def run(self) -> None:
        pooling.leave_pool()
        while not self._stopping.is_set():
            self.turn()
            pause = min(duty.due_at for duty in self.duties) - time.monotonic()
            if pause > LONGEST_PAUSE_SECONDS:
                database.disconnect()
            self._stopping.wait(max(0.05, pause))
        with forks.delayed():
            try:
                self._on_stop()
            except Exception as error:  # noqa: BLE001 a worker that stops has done its work
                logger.warning("Maintenance stopped, but could not say so: %s", error)
        database.disconnect()

    def stop(self, timeout: float = 5.0) -> None:
        self._stopping.set()
        if self.is_alive():
            self.join(timeout)

    def turn(self) -> int:
        """Run the duties that are due. Returns how many operations they changed."""
        changed = 0
        for duty in self.duties:
            if time.monotonic() >= duty.due_at and not self._stopping.is_set():
                with forks.delayed():
                    changed += self._run(duty)
        return changed

    def _run(self, duty: Duty) -> int:
        started = time.monotonic()
        changed, is_away = 0, False
        if not (duty.rescues and started < self._leases_trusted_from):
            try:
                changed = duty.function()
                self._failing -= {duty.name, schema.REMEDY}
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # noqa: BLE001 no duty may end a worker
                self._report(duty, error)
                is_away = errors.is_away(error)
        seconds = time.monotonic() - started
        was_slow = not duty.publishes and seconds > claims.renewal_seconds()
        # An outage ends all leases at once. Healthy jobs get the time to renew theirs.
        if is_away or was_slow:
            self._leases_trusted_from = time.monotonic() + lease_seconds()
        duty.schedule(changed=changed)
        return changed

    def _report(self, duty: Duty, error: BaseException) -> None:
        """Log the first of several failures in a row."""
        # Every duty fails while tables are missing. One line then says what to do.
        is_behind = schema.is_behind(error)
        subject = schema.REMEDY if is_behind else duty.name
        if subject not in self._failing and is_behind:
            logger.warning("Maintenance waits. %s", schema.REMEDY)
        elif subject not in self._failing:
            logger.warning("Maintenance duty %s failed, it goes on", duty.name, exc_info=error)
        self._failing.add(subject)
        database.disconnect()
