"""Calls into an event loop from other threads."""

import asyncio
from typing import Any

import pytest

from async_reply.waiting.mailboxes import mailbox
from tests.concurrency import in_thread


def test_put__calls_in_order_and_wakes_the_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    wakes: list[Any] = []

    async def talk() -> None:
        loop, box = asyncio.get_running_loop(), mailbox()
        assert mailbox() is box
        wake = loop.call_soon_threadsafe

        def count(*arguments: Any) -> Any:
            wakes.append(arguments)
            return wake(*arguments)

        def put_three() -> None:
            for number in range(3):
                box.put(calls.append, number)

        monkeypatch.setattr(loop, "call_soon_threadsafe", count)
        for turn in range(2):
            # The loop stands still meanwhile, as it does while it is busy.
            with in_thread(put_three) as done:
                done.result()
            while len(calls) < 3 * (turn + 1):
                await asyncio.sleep(0)

    asyncio.run(talk())
    assert (calls, len(wakes)) == ([0, 1, 2] * 2, 2)


def test_put__an_error_of_one_call_is_none_of_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls: list[int] = []

    async def talk() -> None:
        box = mailbox()
        box.put(calls.index, 7)
        box.put(calls.append, 1)
        while not calls:
            await asyncio.sleep(0)

    asyncio.run(talk())
    assert calls == [1]
    assert "ValueError" in caplog.text
