"""Takes the events and the log lines of a running job: `operation.emit` and `operation.log`."""

import logging
import os

from async_reply.attempts import outages
from async_reply.attempts.claims import Claim
from async_reply.exceptions import EventRefused


def emit(claim: Claim, name: str, data: object) -> None:
    """Add an event; raises EventRefused, EventsTooLarge, or JobInterrupted as `progress` does."""
    _check_place(claim)
    claim.events.emit(name, data)
    _wait_for_room(claim)


def log(claim: Claim, text: object, level: int | str) -> None:
    """Add a line for clients; raises ValueError for an unknown level."""
    name = _level_name(level)
    _check_place(claim)
    claim.events.log(text, name)
    _wait_for_room(claim)


def take_line(claim: Claim, level: str, text: str, *, is_private: bool) -> None:
    """Add a line of Python's logging. It neither waits nor fails, wherever the job logs."""
    if os.getpid() == claim.pid:
        claim.events.log(text, level, is_private=is_private)


def _check_place(claim: Claim) -> None:
    if claim.events.is_closed or os.getpid() != claim.pid:
        raise EventRefused(
            "Events are emitted while the job runs, in its own process. Functions of on_finish, "
            "on_failure and on_cancel are called after the last event: return what clients need as "
            "the result."
        )


def _wait_for_room(claim: Claim) -> None:
    """Wait while too much is unwritten. In a transaction of the job nothing may be writable."""
    may_wait = claim.events.is_full and not claim.changed_transactions()
    if may_wait and not claim.events.wait_for_room(lambda: claim.needs_check):
        raise outages.away(claim.operation.pk)
    if claim.needs_check:
        claim.check()


def _level_name(level: int | str) -> str:
    """`INFO` for 20 and for "info"."""
    name = level.upper() if isinstance(level, str) else logging.getLevelName(level)
    if name not in logging.getLevelNamesMapping():
        raise ValueError(f"{level!r} is no level of Python's logging: write 'INFO', for example.")
    return str(name)
