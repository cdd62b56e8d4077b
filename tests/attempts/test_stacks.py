"""The stack of a job's thread, taken by another thread."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import greenlet
import pytest

from async_reply import services
from async_reply.attempts import runner, stacks
from async_reply.attempts.kinds import Kind
from async_reply.attempts.stacks import JobThread
from tests.project.tasks import echo


def wait_for(event: threading.Event) -> None:
    event.wait(10)


@contextmanager
def blocked(function: Callable[[threading.Event], object]) -> Iterator[JobThread]:
    """The thread of a job that waits inside `function`."""
    places: list[JobThread] = []
    is_made, may_end = threading.Event(), threading.Event()

    def run() -> None:
        places.append(JobThread())
        is_made.set()
        function(may_end)

    thread = threading.Thread(target=run)
    thread.start()
    assert is_made.wait(10)
    try:
        yield places[0]
    finally:
        may_end.set()
        thread.join(10)


def stack_with(call: str, place: JobThread) -> str:
    """The stack once the thread has reached the call."""
    give_up = time.monotonic() + 10
    while call not in (stack := place.stack()):
        assert time.monotonic() < give_up, stack
    return stack


def recurse(event: threading.Event, depth: int = 500) -> None:
    if depth:
        recurse(event, depth - 1)
    else:
        event.wait(10)


def test_stack__shows_the_innermost_call_last() -> None:
    with blocked(wait_for) as place:
        stack = stack_with("in wait\n", place)
    assert 'test_stacks.py", line' in stack
    assert stack.index("in run\n") < stack.index("in wait_for\n") < stack.index("in wait\n")


def test_stack__of_a_deep_recursion_is_bounded() -> None:
    with blocked(recurse) as place:
        stack = stack_with("in wait\n", place)
    assert stack.count("  File ") <= stacks.MAX_CALLS
    assert len(stack) <= stacks.MAX_CHARACTERS


def test_stack__of_a_thread_that_has_ended_is_empty() -> None:
    with blocked(wait_for) as place:
        pass
    assert place.stack() == ""


def test_stack__of_a_green_thread_is_its_own() -> None:
    places: list[JobThread] = []

    def job_of_green_thread() -> None:
        places.append(JobThread())
        greenlet.getcurrent().parent.switch()

    waiting = greenlet.greenlet(job_of_green_thread)
    waiting.switch()
    stack = places[0].stack()
    waiting.switch()
    assert "in job_of_green_thread\n" in stack
    assert "in test_stack__of_a_green_thread" not in stack


@pytest.mark.django_db
def test_stack__of_a_job_begins_with_its_function() -> None:
    found: list[str] = []

    def job(_operation: object) -> None:
        found.append(JobThread().stack())

    operation = services.submit(echo)
    runner.run(operation.pk, Kind(name=echo.name, function=job), worker="w1", inline=True)
    assert "in job\n" in found[0].splitlines(keepends=True)[0]
