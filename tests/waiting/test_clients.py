"""Streams that the waiting application holds outside Django."""

import asyncio
from functools import partial
from typing import Any

import pytest

from async_reply import lifecycle
from async_reply.models import Operation
from async_reply.views import streams
from async_reply.waiting import ticker, tickets
from tests.waiting.conftest import Site, in_database

pytestmark = pytest.mark.django_db(transaction=True)


def url(operation: Operation) -> str:
    return f"/api/operations/{operation.pk}/events/"


def names_and_ids(stream: Any) -> list[tuple[str, str]]:
    return [(event["event"], event["id"]) for event in stream.events()]


def test_stream__has_an_event_for_each_change_until_the_end(
    site: Site, operation: Operation
) -> None:
    async def talk() -> Any:
        stream = site.get(url(operation))
        await stream.until(b"pending")
        for number, change in enumerate(
            (
                lambda: lifecycle.claim(operation, worker="w1"),
                lambda: lifecycle.beat(operation, progress=40, message="page 4 of 10"),
                lambda: lifecycle.succeed(operation),
            )
        ):
            assert await in_database(change)
            await stream.until(b"id: %d" % (number + 2))
        return await stream.done()

    stream = asyncio.run(talk())
    assert stream.status == 200
    assert stream.headers["Content-Type"] == "text/event-stream"
    assert stream.headers["X-Accel-Buffering"] == "no"
    assert "Content-Length" not in stream.headers
    assert stream.headers["Cache-Control"] == "private, no-store"
    assert stream.headers["Vary"] == "Accept, Authorization, Cookie, Prefer"
    assert (
        f'<http://testserver/api/operations/{operation.pk}/>; rel="monitor"'
        in (stream.headers["Link"])
    )
    assert names_and_ids(stream) == [
        ("pending", "1"),
        ("running", "2"),
        ("progress", "3"),
        ("succeeded", "4"),
    ]
    assert ["retry" in event for event in stream.events()] == [True, False, False, False]


def test_stream__of_a_finished_operation_has_one_event(site: Site, operation: Operation) -> None:
    async def talk() -> Any:
        await site.work()
        return (
            await site.get(url(operation)).done(),
            await site.get(url(operation), last_event_id="3").done(),
        )

    stream, known = asyncio.run(talk())
    assert names_and_ids(stream) == [("succeeded", "3")]
    assert (known.status, known.body) == (204, b"")


def test_stream__head_answers_the_headers(site: Site, running: Operation) -> None:
    async def talk() -> Any:
        return await site.say("HEAD", url(running)).done()

    head = asyncio.run(talk())
    assert (head.status, head.body) == (200, b"")


def test_stream__keep_alive_is_no_event(
    site: Site, running: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tickets, "KEEP_ALIVE_SECONDS", 0.01)

    async def talk() -> Any:
        stream = site.get(url(running), last_event_id="2")
        await stream.until(b":\n:\n:\n")
        stream.leave()
        return await stream.done()

    assert asyncio.run(talk()).events() == []


def test_stream__ends_after_the_longest_time(
    site: Site, running: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MAX_STREAM_SECONDS", 0.1)

    async def talk() -> Any:
        return await site.get(url(running)).done()

    stream = asyncio.run(talk())
    assert names_and_ids(stream) == [("running", "2")]
    assert "retry" in stream.events()[0]


def test_stream__ends_when_the_operation_is_removed(site: Site, running: Operation) -> None:
    async def talk() -> Any:
        stream = site.get(url(running))
        await site.until_waiting()
        await in_database(lambda: Operation.objects.filter(pk=running.pk).delete())
        return await stream.done()

    assert names_and_ids(asyncio.run(talk())) == [("running", "2")]


def test_stream__says_when_to_come_back_before_a_stop(site: Site, running: Operation) -> None:
    async def talk() -> Any:
        stream = site.get(url(running))
        await site.until_waiting()
        site.wrapper.registry.close()
        return await stream.done()

    stream = asyncio.run(talk())
    assert stream.events()[-1]["id"] == "2"
    assert "retry" in stream.events()[-1]


def test_stream__slow_reader_gets_the_last_state(site: Site, running: Operation) -> None:
    """The changes while a client does not read become one event."""

    async def talk() -> Any:
        stream = site.get(url(running))
        await site.until_waiting()
        async with stream._news:  # the client does not read during this block
            for number in range(5):
                beat = partial(lifecycle.beat, running, progress=number, message="m")
                await in_database(beat)
            await in_database(lambda: lifecycle.succeed(running))
            waiters = ticker.ticker._waiters[running.pk]
            while min(waiter.version for waiter in waiters) < 8:
                await asyncio.sleep(0.01)
        return await stream.done()

    stream = asyncio.run(talk())
    names = [name for name, version in names_and_ids(stream)]
    assert names_and_ids(stream)[0] == ("running", "2")
    assert names_and_ids(stream)[-1] == ("succeeded", "8")
    assert len(names) < 7
    assert set(names[1:-1]) <= {"progress"}


def test_stream__slow_reader_learns_that_it_runs(site: Site, operation: Operation) -> None:
    """The first event that it reads while the job runs is `running`, not `progress`."""

    async def talk() -> Any:
        stream = site.get(url(operation))
        await stream.until(b"pending")
        async with stream._news:  # the client does not read during this block
            await in_database(lambda: lifecycle.claim(operation, worker="w1"))
            for number in range(3):
                beat = partial(lifecycle.beat, operation, progress=number, message="m")
                await in_database(beat)
            waiters = ticker.ticker._waiters[operation.pk]
            while min(waiter.version for waiter in waiters) < 5:
                await asyncio.sleep(0.01)
        await stream.until(b"id: 5")
        stream.leave()
        return await stream.done()

    names = [name for name, version in names_and_ids(asyncio.run(talk()))]
    assert names[:2] == ["pending", "running"]


def test_stream__without_the_application_has_the_present_event(
    site: Site, running: Operation
) -> None:
    site.application = site.wrapper.wrapped

    async def talk() -> Any:
        return await site.get(url(running)).done()

    assert names_and_ids(asyncio.run(talk())) == [("running", "2")]
