"""When a client should poll next, and how long it still takes: pure sums, without Django."""

from collections.abc import Sequence
from functools import lru_cache
from math import floor

from async_reply.durations import Law
from async_reply.schedules import Plan, after_all, price

# How much of the expected time in the queue passes before a pending operation is asked about:
# those ahead may be quicker than thought, and the next answer knows more.
SHARE_OF_QUEUE = 0.7
# What a client is kept longer at most so that not all come at once, in prices of a poll.
JITTER = 0.25
# What is added to it for an operation in the queue, as a share of the time until it starts.
JITTER_IN_QUEUE = 0.05
# How the durations scatter of which nothing is known but what they are expected to be.
EXPECTED_SPREAD = (1.0, 0.6, 1.6)


@lru_cache(maxsize=512)
def plan(durations: tuple[float, ...]) -> Plan:
    """The plan for operations that took `durations` seconds, oldest first; at least one.

    Made in well under a millisecond, and found again by comparing the numbers.
    """
    return Plan(Law(durations))


def retry_after(durations: Sequence[float], elapsed: float) -> int:
    """Whole seconds >= 1 until the next poll.

    `durations` are the seconds from submit to end of past operations of the kind, oldest first,
    up to a few hundred; `elapsed` are those since this one was submitted. Minimises polls times
    their price plus the time that a client learns of the end too late. The price of a poll is
    5 % of the median duration, at least 0.25 s.
    """
    elapsed = max(0.0, elapsed)
    if durations:
        return plan(tuple(durations)).wait(elapsed)
    return max(1, round(after_all(elapsed, price(elapsed), 1)))


def eta(durations: Sequence[float], elapsed: float) -> float | None:
    """Seconds that half of those still take which last longer than `elapsed`; None: unknown."""
    return plan(tuple(durations)).remaining(max(0.0, elapsed)) if durations else None


def blend(durations: Sequence[float], expected: float | None) -> tuple[float, ...]:
    """`durations` preceded by what is `expected` of the kind, until nine tell more about it."""
    if expected is None:
        return tuple(durations)
    believed = EXPECTED_SPREAD[: max(0, 3 - len(durations) // 3)]
    return (*(expected * each for each in believed), *durations)


def by_progress(elapsed: float, progress: int) -> float:
    """Seconds until the end when `progress` percent, above 0, took `elapsed` seconds."""
    return elapsed * (100 - progress) / progress


def weigh(estimate: float, own: float, progress: int) -> float:
    """Between what the kind tells and the operation's own progress: the further it got, the more
    counts the latter."""
    return own * progress / 100 + estimate * (100 - progress) / 100


def in_queue(ahead: float, *, mean: float, workers: int) -> float:
    """Seconds until an operation starts that has `ahead` before it, of `mean` seconds each.

    All of the `workers` are busy, and one of them half through on average.
    """
    return (ahead + 0.5) * mean / max(1, workers)


def retry_after_in_queue(durations: Sequence[float], queued: float) -> int:
    """Whole seconds >= 1 until the next poll of an operation that starts in `queued` seconds.

    `durations` are seconds from start to end.
    """
    return max(1, floor(SHARE_OF_QUEUE * queued + retry_after(durations, 0)))


def width(durations: Sequence[float]) -> float:
    """Seconds over which those who are told the same are spread: a part of a poll's price."""
    return JITTER * (plan(tuple(durations)).cost if durations else price(0))


def jitter(wait: int, width: float, seed: int) -> int:
    """`wait` or up to `width` seconds more, the same for a `seed` and evenly spread over many.

    One second stays one: clients who come each second come to different parts of it.
    """
    if wait == 1:
        return wait
    share, rounding = seed % 9973 / 9973, seed // 9973 % 9967 / 9967
    return wait + floor(width * share + rounding)
