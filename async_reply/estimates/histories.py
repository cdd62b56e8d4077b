"""Reads how long the last operations of a kind ran. Each process keeps what it read for seconds."""

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from async_reply.models import ESTIMATE_KEY, Operation
from async_reply.status import DELETABLE

#: The newest rows of a kind that are read, and the durations of each estimate key that are kept.
ROWS_READ = 400
DURATIONS_KEPT = 150
#: With fewer durations of an estimate key, those of the whole kind tell more.
FEWEST_OF_KEY = 5
REFRESH_SECONDS = 5.0

Durations = tuple[float, ...]


@dataclass
class _History:
    """The durations of a kind by estimate key; under None those of all keys."""

    #: The history is read again after this moment of the monotonic clock.
    due_at: float = 0.0
    by_key: dict[str | None, Durations] = field(default_factory=dict)


_histories: dict[str, _History] = {}
_lock = threading.Lock()


def durations(kind: str, key: str | None = None) -> Durations:
    """Seconds that the last operations of the kind ran, oldest first.

    For a job of steps these are the seconds of all its attempts, else those of the last one.

    With an estimate `key`, the durations of this key only, if there are at least five. Queries the
    database at most once in five seconds for each kind.
    """
    history = _fresh(kind)
    of_key = history.by_key.get(key, ())
    return of_key if len(of_key) >= FEWEST_OF_KEY else history.by_key.get(None, ())


def cached(kind: str) -> Durations:
    """The durations of the kind that this process has read before; never queries the database."""
    history = _histories.get(kind)
    return history.by_key.get(None, ()) if history else ()


def forget() -> None:
    """Read every history anew. Tests need this: each starts with an empty database."""
    _histories.clear()


def _fresh(kind: str) -> _History:
    """The kind's history. When it is old, one thread reads it; the others use the old one."""
    with _lock:
        history = _histories.setdefault(kind, _History())
        now = time.monotonic()
        if now < history.due_at:
            return history
        history.due_at = now + REFRESH_SECONDS
    history.by_key = _by_key(_newest(kind))
    return history


def _newest(kind: str) -> Iterable[tuple[Any, ...]]:
    """The newest finished rows of the kind. An index over kind and end keeps this query short.

    Tombstones are among the rows, so purging results loses no durations.
    """
    finished = Operation.objects.filter(kind=kind, finished_at__isnull=False)
    rows = finished.order_by("-finished_at")
    columns = ("status", "started_at", "finished_at", "reply", "earlier_seconds", "steps")
    return rows.values_list(*columns)[:ROWS_READ]


def _by_key(rows: Iterable[tuple[Any, ...]]) -> dict[str | None, Durations]:
    newest_first: dict[str | None, list[float]] = {None: []}
    for status, started_at, finished_at, reply, earlier_seconds, steps in rows:
        # Only a job that ran to its end tells how long such jobs take.
        if status in DELETABLE and started_at is not None:
            seconds = max(0.0, finished_at.timestamp() - started_at.timestamp())
            # A job of steps goes on where it was. Any other has begun anew.
            seconds += earlier_seconds if steps else 0
            for key in {None, reply.get(ESTIMATE_KEY)}:
                durations_of_key = newest_first.setdefault(key, [])
                if len(durations_of_key) < DURATIONS_KEPT:
                    durations_of_key.append(seconds)
    return {key: tuple(reversed(seconds)) for key, seconds in newest_first.items()}
