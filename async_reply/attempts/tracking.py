"""Goes through a job's items, and shows how many are done: `operation.track`."""

from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

from async_reply.attempts.claims import Claim
from async_reply.attempts.cursors import Loop, ResumeFrom
from async_reply.attempts.steps import Steps

Item = TypeVar("Item")


def tracked(
    claim: Claim, iterable: Iterable[Item], total: int | None, description: str
) -> Iterator[Item]:
    """The items; each counts as done when the next one is asked for."""
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    show(claim, 0, total, description)
    for done, item in enumerate(iterable, 1):
        yield item
        claim.progress = (percent(done, total), description, done, total)
        if claim.needs_check:
            claim.check()


def resumed(
    claim: Claim,
    steps: Steps,
    name: str,
    source: Iterable[Any],
    resume_from: ResumeFrom | None,
    total: int | None,
    description: str,
) -> Iterator[Any]:
    """The items behind those that earlier attempts have done in the loop of this name."""
    if steps.begin_loop(name):
        return
    loop = Loop(claim.kept, name, source, resume_from)
    total = loop.total() if total is None else total
    show(claim, loop.done, total, description)
    for key, item in loop.items():
        yield item
        # Without this a later attempt would skip an item whose step has failed.
        steps.raise_failure()
        loop.move(key)
        claim.halftime.get_further()
        claim.progress = (percent(loop.done, total), description, loop.done, total)
        if claim.needs_check:
            claim.check()
        claim.check_halftime()
    claim.kept.drop(name)
    steps.end_loop(name, loop.done)


def show(claim: Claim, done: float, total: float | None, message: str) -> None:
    """Show `done` of `total`; raises JobInterrupted when the job has to stop."""
    claim.progress = (percent(done, total), message, 0, None)
    if claim.needs_check:
        claim.check()


def percent(done: Any, total: Any) -> int | None:
    """Percent done; None for numbers that have no percentage."""
    try:
        return int(100 * done / total) if total else None
    except (ArithmeticError, TypeError, ValueError):
        return None
