"""Requests that are about to wait get one of a few threads."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from async_reply.waiting.admission import Admission, AdmittedThread

ADA, EVE = ("owner", "ada"), ("owner", "eve")


async def started(acquire: Coroutine[Any, Any, AdmittedThread]) -> asyncio.Task[AdmittedThread]:
    """A task that has run until it waits, or is done."""
    task = asyncio.create_task(acquire)
    for _ in range(3):
        await asyncio.sleep(0)
    return task


def test_acquire__leaves_a_thread_for_other_callers() -> None:
    async def talk() -> None:
        admission = Admission(max_per_caller=1)
        first = await started(admission.acquire([EVE]))
        second = await started(admission.acquire([EVE]))
        other = await started(admission.acquire([ADA]))
        assert [first.done(), second.done(), other.done()] == [True, False, True]
        with admission.using(first.result()):
            pass
        await started(admission.acquire([ADA]))
        assert second.done()

    asyncio.run(talk())


def test_acquire__canceled_request_leaves_the_queue() -> None:
    async def talk() -> None:
        admission = Admission(max_per_caller=1)
        first = await started(admission.acquire([EVE]))
        second = await started(admission.acquire([EVE]))
        third = await started(admission.acquire([EVE]))
        second.cancel()
        with admission.using(first.result()):
            pass
        await started(admission.acquire([ADA]))
        assert second.cancelled()
        assert third.done()

    asyncio.run(talk())


def test_acquire__canceled_after_it_got_a_thread_releases_the_thread() -> None:
    async def talk() -> None:
        admission = Admission(max_per_caller=1)
        first = await started(admission.acquire([EVE]))
        second = await started(admission.acquire([EVE]))
        third = await started(admission.acquire([EVE]))
        with admission.using(first.result()):
            pass
        second.cancel()  # it has the thread, but has not run since
        await started(admission.acquire([ADA]))
        assert second.cancelled()
        assert third.done()

    asyncio.run(talk())
