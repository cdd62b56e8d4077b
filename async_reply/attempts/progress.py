"""Progress that a job reports: kept as a tuple at each call, made into columns at each beat."""

from typing import Any, TypeAlias

from async_reply.database import payloads

#: Percent done, the job's message, the number of items done, and the number of all items. The
#: numbers are added to the message, unless none is done. A tuple costs little in a tight loop.
Progress: TypeAlias = tuple[int | None, str, int, int | None]


def columns(progress: Progress) -> dict[str, Any]:
    """The columns `progress` (0 to 100, or None) and `message` of the row."""
    percent = None if progress[0] is None else max(0, min(100, progress[0]))
    return {"progress": percent, "message": _message(progress)}


def _message(progress: Progress) -> str:
    """At most 255 characters. '' when the job's message cannot become a text."""
    _, message, done, total = progress
    try:
        text = str(message) if message else ""
    except Exception:  # noqa: BLE001 it is the job's own code
        return ""
    if done:
        count = f"{done} of {total}" if total else str(done)
        text = f"{text} {count}" if text else count
    return payloads.clean(text[:255])[:255]
