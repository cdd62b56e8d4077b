"""Jobs of steps: one dies at a boundary of a step, as in a power cut; the other one is long."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

from django.contrib.auth.models import Group

from async_reply import lifecycle
from async_reply.attempts import step_storage
from async_reply.attempts.claims import Claim
from async_reply.attempts.jobs import Job
from async_reply.attempts.steps import Steps
from async_reply.tasks import operation_task


def _dying(function: Callable[..., Any], *, first: bool) -> Callable[..., Any]:
    """`function`, with the end of the process behind it, or before it."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if not first:
            function(*args, **kwargs)
        os._exit(1)

    return call


#: What is replaced at each boundary, and whether the process dies before it.
BOUNDARIES: dict[str, tuple[Any, str, bool]] = {
    "before the function": (Claim, "look_if_old", True),
    "after the function": (Steps, "_store", True),
    "before the commit": (lifecycle, "store_step", False),
    "after the commit": (step_storage, "write_once", False),
}


#: The same for an atomic step, whose function and row have one transaction.
ATOMIC_BOUNDARIES: dict[str, tuple[Any, str, bool]] = {
    "before the function": (Claim, "look_if_old", True),
    "after the function": (step_storage, "write_once", True),
    "before the commit": (step_storage, "write_once", False),
    "after the commit": (step_storage, "_remember", True),
}


@contextmanager
def dying(boundary: str, *, atomic: bool = False) -> Iterator[None]:
    """A block with one step, at whose `boundary` the process dies."""
    owner, name, first = (ATOMIC_BOUNDARIES if atomic else BOUNDARIES)[boundary]
    with patch.object(owner, name, _dying(getattr(owner, name), first=first)):
        yield


@operation_task(name="tests.deadly_steps")
def deadly_steps(operation: Job, *, boundary: str, journal: str, atomic: bool = False) -> list[Any]:
    """Its first attempt dies at the `boundary` of the second step.

    Each step writes a row. The job returns the values of the steps, and the number of rows.
    """

    def work(number: int) -> int:
        with Path(journal).open("a") as file:
            file.write(f"{number}\n")
        Group.objects.create(name=f"{operation.id} {number} {uuid4()}")
        return number

    values = []
    for number in range(3):
        is_deadly = number == 1 and operation.attempt == 1
        with dying(boundary, atomic=atomic) if is_deadly else nullcontext():
            values.append(operation.step(f"step {number}", work, number, atomic=atomic))
    return [values, Group.objects.filter(name__startswith=f"{operation.id} ").count()]


@operation_task(name="tests.long_steps", time_limit=2, total_time_limit=120)
def long_steps(operation: Job, *, steps: int, journal: str) -> int:
    """Takes longer than its time limit, and longer than its worker lives in the test."""

    def work(number: int) -> int:
        time.sleep(0.25)
        with Path(journal).open("a") as file:
            file.write(f"{number}\n")
        return number

    return sum(operation.step(f"step {number}", work, number) for number in range(steps))
