"""A journal that jobs write outside the database. It shows what ran, whatever the rows say."""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Entry:
    """A line: `event` is "start", "end", or "refused" (the attempt was told to stop).

    Before "step" and after "item" the `part` is the number of a step or of an item.
    """

    at: float
    event: str
    id: str
    attempt: int
    pid: int
    part: str = ""


def write(path: str, event: str, *, id: object, attempt: int, part: str = "") -> None:
    """Append a line in one system call, so that lines of several processes do not mix."""
    line: dict[str, Any] = {
        "at": time.time(),
        "event": event,
        "id": str(id),
        "attempt": attempt,
        "pid": os.getpid(),
        "part": part,
    }
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
    finally:
        os.close(descriptor)


def read(path: Path) -> list[Entry]:
    """All lines, oldest first."""
    if not path.exists():
        return []
    entries = [Entry(**json.loads(line)) for line in path.read_text().splitlines()]
    return sorted(entries, key=lambda entry: entry.at)
