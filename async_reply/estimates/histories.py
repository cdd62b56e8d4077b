"""How long the last operations of a kind ran, as every process sees it."""

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from async_reply.models import ESTIMATE_KEY, Operation
from async_reply.status import DELETABLE

# The newest rows of a kind that are looked at, and how many of each key are kept of them.
LOOKED_AT = 400
KEPT = 150
# Fewer of a key tell less than all of its kind.
FEWEST_OF_KEY = 5
#: Seconds for which a process believes what it read.
REFRESH = 5.0

Durations = tuple[float, ...]


@dataclass
class _History:
    """The durations of a kind by key, None for all of them; read again when `due_at` is past."""

    due_at: float = 0.0
    by_key: dict[str | None, Durations] = field(default_factory=dict)


_histories: dict[str, _History] = {}
_lock = threading.Lock()


def durations(kind: str, key: str | None = None) -> Durations:
    """Seconds from start to end of the last operations of the kind, oldest first.

    With a `key` those of the same one where there are a few. Reads the database once in five
    seconds, and in between tells what it told before.
    """
    history = _fresh(kind)
    found = history.by_key.get(key, ())
    return found if len(found) >= FEWEST_OF_KEY else history.by_key.get(None, ())


def known(kind: str) -> Durations:
    """The same without a look at the database: what this process happens to know."""
    history = _histories.get(kind)
    return history.by_key.get(None, ()) if history else ()


def forget() -> None:
    """Read all anew: for tests, whose database starts empty each time."""
    _histories.clear()


def _fresh(kind: str) -> _History:
    """The kind's history; of all who find it old one reads, and the others go on with the old."""
    with _lock:
        history = _histories.setdefault(kind, _History())
        now = time.monotonic()
        if now < history.due_at:
            return history
        history.due_at = now + REFRESH
    history.by_key = _by_key(_newest(kind))
    return history


def _newest(kind: str) -> Iterable[tuple[Any, ...]]:
    """The newest finished rows, by the index over kind and end; how many there are is no matter.

    Tombstones are among them: purging results takes nothing from here.
    """
    finished = Operation.objects.filter(kind=kind, finished_at__isnull=False)
    rows = finished.order_by("-finished_at")
    return rows.values_list("status", "started_at", "finished_at", "reply")[:LOOKED_AT]


def _by_key(rows: Iterable[tuple[Any, ...]]) -> dict[str | None, Durations]:
    newest_first: dict[str | None, list[float]] = {None: []}
    for status, started_at, finished_at, reply in rows:
        if status in DELETABLE and started_at is not None:
            seconds = max(0.0, finished_at.timestamp() - started_at.timestamp())
            for key in {None, reply.get(ESTIMATE_KEY)}:
                kept = newest_first.setdefault(key, [])
                if len(kept) < KEPT:
                    kept.append(seconds)
    return {key: tuple(reversed(found)) for key, found in newest_first.items()}
