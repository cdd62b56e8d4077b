"""When a client should poll next: pure sums, without Django."""

import math

MIN_WAIT = 1
MAX_WAIT = 30


def eta(elapsed: float, progress: int | None) -> float | None:
    """Seconds until the end, extrapolated from `progress` percent reached in `elapsed` seconds."""
    if not progress:
        return None
    return max(0.0, elapsed * (100 - progress) / progress)


def retry_after(elapsed: float, *, eta: float | None = None) -> int:
    """Whole seconds >= 1 until the next poll.

    With an estimate the client comes back when the end is due. Without one the wait is a
    quarter of the time that has passed, so that it is late by a fifth at most.
    """
    wait = elapsed / 4 if eta is None else eta
    return max(MIN_WAIT, min(MAX_WAIT, math.ceil(wait)))
