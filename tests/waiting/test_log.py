"""Readers of a log under ASGI, and the ticker that wakes them."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from async_reply import lifecycle
from async_reply.models import Operation
from async_reply.services import event_pages
from async_reply.waiting import answers, versions
from async_reply.waiting.ticker import Ticker, Waiter
from async_reply.waiting.tickets import HANDOVER_KEY
from async_reply.waiting.versions import Seen
from tests.concurrency import in_thread, until
from tests.event_log import flush
from tests.waiting.client import Exchange
from tests.waiting.conftest import Site, in_database

pytestmark = [pytest.mark.django_db(transaction=True)]


def url(operation: Operation, after: int = 0) -> str:
    return f"/api/operations/{operation.pk}/log/?after={after}"


def read(site: Site, operation: Operation, after: int = 0, **fields: str) -> Exchange:
    """A stream of the log."""
    return site.get(url(operation, after), accept="text/event-stream", **fields)


def ids(exchange: Exchange) -> list[int]:
    return [int(event["id"]) for event in exchange.events()]


async def flush_elsewhere(*arguments: Any, **options: Any) -> None:
    await in_database(lambda: flush(*arguments, **options))


async def succeed(operation: Operation) -> None:
    await in_database(lambda: lifecycle.succeed(operation))


def test_stream__replays_then_goes_on_live_and_ends_with_the_outcome(
    site: Site, running: Operation
) -> None:
    flush(running, 2)

    async def talk() -> Exchange:
        stream = read(site, running)
        await stream.until(b"id: 2\n")
        await site.until_waiting()
        await flush_elsewhere(running, private={3})
        await flush_elsewhere(running)
        await stream.until(b"id: 4\n")
        await succeed(running)
        return await stream.done()

    stream = asyncio.run(talk())
    assert stream.headers["Content-Type"] == "text/event-stream"
    assert ids(stream) == [1, 2, 4, 5]
    assert ["retry" in event for event in stream.events()] == [True, False, False, False]
    assert json.loads(stream.events()[-1]["data"])["status"] == "succeeded"


@pytest.mark.parametrize("last", range(7))
def test_stream__reconnect_at_each_number_repeats_and_misses_nothing(
    site: Site, running: Operation, last: int
) -> None:
    """The rest comes partly as a replay and partly live, with a page that is cut."""
    flush(running, 2, size=event_pages.PAGE_BYTES)
    flush(running, 2)

    async def talk() -> Exchange:
        stream = read(site, running, last_event_id=str(last))
        await site.until_waiting()
        await flush_elsewhere(running, 2)
        await succeed(running)
        return await stream.done()

    # Nobody can have seen a number that is still to come.
    assert ids(asyncio.run(talk())) == [n for n in range(1, 8) if n > min(last, 4)]


def test_stream__of_a_finished_operation_sends_page_after_page(
    site: Site, running: Operation, ticker: Ticker
) -> None:
    for _ in range(3):
        flush(running, 2, size=event_pages.PAGE_BYTES)
    lifecycle.succeed(running)

    async def talk() -> Exchange:
        return await read(site, running).done()

    assert ids(asyncio.run(talk())) == [1, 2, 3, 4, 5, 6, 7]
    assert not ticker.is_running


def test_stream__client_that_has_seen_the_end_gets_204(site: Site, running: Operation) -> None:
    flush(running)
    lifecycle.succeed(running)

    async def talk() -> Exchange:
        return await read(site, running, last_event_id="2").done()

    assert asyncio.run(talk()).status == 204


def test_stream__readers_share_the_answer_of_each_flush(
    site: Site, running: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also readers that came back by themselves, with a number of their own."""
    flush(running, 3)
    asked: list[int] = []
    answer_to = answers.answer_to

    def count(scope: Any) -> answers.Answer:
        if scope[HANDOVER_KEY].seen is not None:
            asked.append(scope[HANDOVER_KEY].seen.events)
        return answer_to(scope)

    monkeypatch.setattr(answers, "answer_to", count)

    async def talk() -> list[Exchange]:
        streams = [read(site, running, last_event_id=str(n % 3)) for n in range(12)]
        for number in (3, 5, 7):
            for stream in streams:
                await stream.until(b"id: %d\n" % number)
            await site.until_waiting(12)
            await flush_elsewhere(running, 2)
        for stream in streams:
            await stream.until(b"id: 9\n")
        await succeed(running)
        return [await stream.done() for stream in streams]

    streams = asyncio.run(talk())
    assert [ids(stream) for stream in streams] == [list(range(n % 3 + 1, 11)) for n in range(12)]
    assert asked == [3, 5, 7, 9]


def test_wait__ends_with_the_next_event_and_not_with_progress(
    site: Site, running: Operation
) -> None:
    flush(running)

    async def talk() -> Exchange:
        waiting = site.get(url(running, 1), prefer="wait=30")
        await site.until_waiting()
        await in_database(lambda: lifecycle.beat(running, progress=40, message="page 4"))
        await flush_elsewhere(running)
        return await waiting.done()

    document = asyncio.run(talk()).json()
    assert ([event["id"] for event in document["events"]], document["last"]) == ([2], 2)


def test_wait__ends_with_the_outcome(site: Site, running: Operation) -> None:
    async def talk() -> Exchange:
        waiting = site.get(url(running), prefer="wait=30")
        await site.until_waiting()
        await succeed(running)
        return await waiting.done()

    answer = asyncio.run(talk())
    assert answer.json()["complete"]
    assert answer.headers["Preference-Applied"] == "wait=30"


# -- the ticker


def told(operation: Operation, rows: list[Any], *, reads_log: bool = True) -> Waiter:
    def tell(row: Operation | None, shared: Any) -> None:
        rows.append(row and (row.version, row.events))

    events = operation.events if reads_log else None
    return Waiter(operation.pk, operation.version, tell, events=events)


def test_ticker__wakes_readers_by_events_and_pollers_by_versions(
    running: Operation, ticker: Ticker
) -> None:
    readers: list[Any] = []
    pollers: list[Any] = []
    version = running.version
    reader, poller = told(running, readers), told(running, pollers, reads_log=False)
    with ticker.watching(reader), ticker.watching(poller):
        with in_thread(lambda: flush(running)) as done:
            done.result()
        until(lambda: readers == [(version, 1)])
        with in_thread(lambda: lifecycle.beat(running, progress=1, message="new")) as done:
            done.result()
        until(lambda: pollers == [(version + 1, 1)])
        with in_thread(lambda: lifecycle.succeed(running)) as done:
            done.result()
        until(lambda: len(readers) == len(pollers) == 2)
    assert readers[-1] == pollers[-1] == (version + 2, 1)


def test_ticker__does_not_look_at_events_without_a_reader(
    running: Operation, ticker: Ticker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither before a reader comes, nor after the last one has left."""
    monkeypatch.setattr(ticker, "_start", lambda: None)
    reads: list[Any] = []
    monkeypatch.setattr(ticker, "_read", reads.append)
    with ticker.watching(told(running, [], reads_log=False)):
        flush(running)
        ticker._look()
        assert reads == []
        with ticker.watching(told(running, [])), ticker.watching(told(running, [])):
            ticker._look()
            assert reads == [{running.pk}]
        ticker._look()
        assert reads == [{running.pk}]
    assert not ticker._events


def test_hint__of_events_counts_for_readers_only(
    running: Operation, ticker: Ticker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticker, "_start", lambda: None)
    with ticker.watching(told(running, [], reads_log=False)):
        ticker.hint(running.pk, only_events=True)
        assert not ticker._hints
        with ticker.watching(told(running, [])):
            ticker.hint(running.pk, only_events=True)
        assert ticker._hints == {running.pk}


def test_changed__compares_events_where_they_are_read(
    submit: Callable[..., Operation], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    read, polled, same = submit(), submit(), submit()
    seen = Seen({row.pk: row.version for row in (read, polled, same)}, {read.pk: 0, same.pk: 0})
    for row in (read, polled):
        flush(row)
    with django_assert_num_queries(1):
        assert versions.changed(seen) == {read.pk}
