"""The events that one attempt emits and logs, until they are written.

The heartbeat's thread writes them: the first one after a quiet time at once, later ones a quarter
of a second after the last write, or as soon as 64 KiB wait. A job that runs inline writes them with
its steps and at its end.
"""

import json
import math
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from async_reply import conf
from async_reply.attempts import event_storage, interrupts, outages
from async_reply.attempts.event_storage import Batch, Sizes
from async_reply.database import payloads
from async_reply.database.leases import lease_seconds
from async_reply.exceptions import EventsTooLarge, PayloadTooLarge
from async_reply.models import Operation
from async_reply.status import Status
from async_reply.stored_events import LOG, RESET, TRUNCATED

#: Bytes of JSON of one event's data.
MAX_EVENT_BYTES = 64 * 1024
#: Bytes that may wait. With more, `emit` waits until they are written.
FULL_BYTES = 64 * 1024
#: Seconds from one write to the next one, and from a write that was not possible.
PAUSE_SECONDS = 0.25
#: The longest line of the log. Longer lines are cut.
MAX_LINE_CHARACTERS = 4_000
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
#: Names that mean something else: in a log, as the outcome, or to a browser's EventSource.
RESERVED = frozenset({LOG, RESET, TRUNCATED, *Status.values, "error", "message", "open"})


class WaitingEvent(NamedTuple):
    """An event that is not written yet, as JSON."""

    text: str
    size: int
    is_log: bool


class EventLog:
    """The events of an attempt that wait to be written, and the number of the last one."""

    def __init__(self, operation: Operation, *, wake: Callable[[], None] | None = None) -> None:
        """`wake` tells the thread that writes events that some are due; None without a thread."""
        self._operation = operation
        self._wake = wake
        #: The number of the last event.
        self.last = self._written = operation.events
        self._changed = threading.Condition()
        self._waiting: list[WaitingEvent] = []
        self._waiting_bytes = 0
        #: The batches that are being written. Each stays the same until it is known to be stored.
        self._batches: list[Batch] = []
        self._may_write_at = -math.inf
        self._sizes: Sizes | None = None
        self.is_closed = False
        self._is_lost = False
        #: Whether an earlier attempt has left events that this one emits anew.
        self._has_to_reset = operation.events > operation.kept_events
        if self._has_to_reset:
            self._add(RESET, json.dumps({"after": operation.kept_events}))

    @property
    def due_at(self) -> float:
        """When something is to be written, by `time.monotonic()`; infinite while nothing waits."""
        has_some = self._waiting or self._batches
        return self._may_write_at if has_some and not self._is_lost else math.inf

    def emit(self, name: str, data: Any) -> None:
        """Add an event. Raises TypeError or ValueError for its name, PayloadError for its data."""
        check_name(name)
        try:
            text, _ = payloads.to_text_and_json(data, limit=MAX_EVENT_BYTES)
        except PayloadTooLarge as error:
            raise EventsTooLarge(
                f"{error} Emit several events instead, or return operation.file(...)."
            ) from error
        sizes = self._sizes or outages.read_for_job(self._operation.pk, self._read_sizes)
        if sizes.emitted >= (limit := conf.get("MAX_EVENTS")):
            raise EventsTooLarge(
                f"The events of the operation take {sizes.emitted:,} bytes; {limit:,} are allowed. "
                "Return the rest as the result, or raise the setting MAX_EVENTS."
            )
        size = self._add(name, text)
        with self._changed:
            sizes.emitted += size

    def log(self, text: object, level: str, *, is_private: bool = False) -> None:
        """Add a line, unless MAX_EVENTS bytes wait. Readers see where lines are missing."""
        line = {"level": level, "text": payloads.clean(text)[:MAX_LINE_CHARACTERS]}
        self._add(LOG, json.dumps(line, ensure_ascii=False), is_private=is_private)

    @interrupts.uninterrupted
    def _add(self, name: str, data: str, *, is_private: bool = False) -> int:
        """Number an event and let it wait; returns its bytes. A closed log takes no event.

        `data` is JSON.
        """
        privacy = ',"private":true' if is_private else ""
        rest = f'"event":"{name}","at":"{_now()}","data":{data}{privacy}}}'
        with self._changed:
            if self.is_closed:
                return 0
            self.last += 1
            text = f'{{"id":{self.last},{rest}'
            size = len(text.encode()) + 1
            if name == LOG and self._waiting_bytes + size > conf.get("MAX_EVENTS"):
                return 0
            self._waiting.append(WaitingEvent(text, size, name == LOG))
            was_full = self.is_full
            self._waiting_bytes += size
            is_news = len(self._waiting) == 1
            if self.is_full and not was_full:
                is_news, self._may_write_at = True, -math.inf
        if is_news and self._wake is not None:
            self._wake()
        return size

    @property
    def is_full(self) -> bool:
        return self._waiting_bytes >= FULL_BYTES

    def wait_for_room(self, has_to_stop: Callable[[], bool]) -> bool:
        """Wait until less than 64 KiB wait, or the job has to stop; False after a whole lease."""
        if self._wake is None:
            return True
        give_up = time.monotonic() + lease_seconds()
        with self._changed:
            while self.is_full and not has_to_stop():
                if time.monotonic() >= give_up:
                    return False
                self._changed.wait(PAUSE_SECONDS)
        return True

    def write(self) -> bool:
        """Write all that waits. False if the attempt has lost its operation.

        The caller holds the claim's lock, and calls `mark_written` when this is committed. Until
        then the same is written again, followed by events that have come since.
        """
        with self._changed:
            if self._waiting:
                self._batches.append(self._take())
        for batch in self._batches:
            if self._is_lost:
                break
            is_held = event_storage.write(self._operation, batch, self._read_sizes())
            self._is_lost = not is_held
        return not self._is_lost

    def _take(self) -> Batch:
        events, self._waiting = self._waiting, []
        has_to_reset, self._has_to_reset = self._has_to_reset, False
        self._waiting_bytes = 0
        return Batch(
            after=self._batches[-1].last if self._batches else self._written,
            last=self.last,
            text=f"[{','.join(event.text for event in events)}]",
            size=sum(event.size for event in events),
            log_size=sum(event.size for event in events if event.is_log),
            has_reset=has_to_reset,
        )

    def mark_written(self) -> None:
        """What `write` has written is committed."""
        with self._changed:
            batches, self._batches = self._batches, []
            if not batches or self._is_lost:
                return
            self._written = self._operation.events = batches[-1].last
            if self._sizes is not None:
                self._sizes.stored += sum(batch.size - batch.removed for batch in batches)
            self._may_write_at = -math.inf if self.is_full else time.monotonic() + PAUSE_SECONDS
            self._changed.notify_all()

    def postpone(self) -> None:
        """It could not be written now."""
        self._may_write_at = time.monotonic() + PAUSE_SECONDS

    def close(self) -> None:
        """Take no more events."""
        with self._changed:
            self.is_closed = True

    def _read_sizes(self) -> Sizes:
        """The bytes that earlier attempts have left, and this one has written."""
        if self._sizes is None:
            sizes = event_storage.read_sizes(self._operation)
            with self._changed:
                self._sizes = self._sizes or sizes
        return self._sizes


def check_name(name: object) -> None:
    """Raise TypeError or ValueError for a name that no event can have."""
    if not isinstance(name, str):
        raise TypeError(f"An event's name is a text, not {name!r}.")
    if not NAME.fullmatch(name):
        raise ValueError(
            "An event's name begins with a letter and has up to 64 letters, digits, '_', '-' and "
            f"'.', unlike {name!r}."
        )
    if name in RESERVED:
        raise ValueError(f"{name!r} means something else to clients: choose another name.")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
