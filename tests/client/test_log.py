"""Logs read by the client, at a scripted server on a real socket and at our own view."""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

import httpx
import pytest

from async_reply import client, lifecycle
from async_reply.client import OperationFailed, aio
from async_reply.models import Operation
from async_reply.services import event_pages
from tests.client.servers import Handler, serving
from tests.event_log import flush

Read = Callable[..., list[Any]]


def sync(base_url: str, url: str, **options: Any) -> list[Any]:
    with httpx.Client(base_url=base_url, headers={"X-Key": "secret"}) as http:
        return list(client.read_log(http, url, **options))


def asynchronous(base_url: str, url: str, **options: Any) -> list[Any]:
    async def read() -> list[Any]:
        async with httpx.AsyncClient(base_url=base_url, headers={"X-Key": "secret"}) as http:
            return [event async for event in aio.read_log(http, url, **options)]

    return asyncio.run(read())


both = pytest.mark.parametrize("read", [sync, asynchronous])


def event(number: int, name: str = "row") -> dict[str, Any]:
    return {"id": number, "event": name, "at": "2026-01-02T03:04:05Z", "data": {}}


class Log(Handler):
    """Two pages, private lines, nothing new, an outage, and the outcome."""

    answers: ClassVar[list[tuple[int, Any]]] = []

    def get(self) -> None:
        status, body = self.answers[self.poll() - 1]
        self.answer(status, body, Retry_After="0")


class Whole(Log):
    answers: ClassVar[list[tuple[int, Any]]] = [
        (200, {"events": [event(1), event(2)], "last": 2, "complete": False}),
        (200, {"events": [], "last": 4, "complete": False}),
        (200, {"events": [], "last": 4, "complete": False}),
        (503, None),
        (200, {"events": [event(5), event(6, "succeeded")], "last": 6, "complete": True}),
    ]


class Refused(Log):
    answers: ClassVar[list[tuple[int, Any]]] = [(410, {"status": 410, "detail": "It has expired."})]


@both
def test_read_log__goes_on_from_page_to_page(read: Read) -> None:
    with serving(Whole) as (url, seen):
        events = read(url, "/log/?sig=k")
    assert [event["id"] for event in events] == [1, 2, 5, 6]
    paths = [path for _, path, _ in seen.requests]
    assert paths == [f"/log/?sig=k&after={after}" for after in (0, 2, 4, 4, 4)]
    assert {fields["Prefer"] for _, _, fields in seen.requests} == {"wait=20"}
    assert {fields["X-Key"] for _, _, fields in seen.requests} == {"secret"}


@both
def test_read_log__that_is_refused_raises_the_problem(read: Read) -> None:
    with serving(Refused) as (url, _), pytest.raises(OperationFailed, match="It has expired"):
        read(url, "/log/")


def test_read_log__sends_no_credentials_to_another_server() -> None:
    http = httpx.Client(base_url="http://x", headers={"X-Key": "secret"}, auth=("a", "b"))
    with http, serving(Whole) as (other, seen):
        assert len(list(client.read_log(http, f"{other}/log/"))) == 4
    for _, _, fields in seen.requests:
        assert {"X-Key", "x-key", "Authorization"} & fields.keys() == set()


def test_read_log__waits_longer_for_the_answer_than_for_others() -> None:
    timeouts: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        timeouts.append(request.extensions["timeout"])
        return httpx.Response(200, json={"events": [], "last": 1, "complete": True})

    http = httpx.Client(transport=httpx.MockTransport(answer), timeout=5)
    with http:
        assert list(client.read_log(http, "http://x/log/", after=1)) == []
    assert timeouts == [{"connect": 5, "read": 25, "write": 5, "pool": 5}]


@pytest.mark.django_db
@pytest.mark.parametrize("after", range(6))
def test_ours__from_each_number(ours: httpx.Client, running: Operation, after: int) -> None:
    flush(running, 2, size=event_pages.PAGE_BYTES)
    flush(running, 2, private={3})
    lifecycle.succeed(running)
    with ours as http:
        links = http.get(f"/api/operations/{running.pk}/monitor/").json()["links"]
        events = list(client.read_log(http, links["log"], after=after))
    assert [event["id"] for event in events] == [n for n in (1, 2, 4, 5) if n > after]
    assert after == 5 or events[-1]["event"] == "succeeded"


@both
@pytest.mark.parametrize("body", [None, {}, [], {"events": [], "last": 0}])
def test_answer_that_is_no_log__fails(read: Read, body: Any) -> None:
    class NoLog(Log):
        answers: ClassVar[list[tuple[int, Any]]] = [(200, body)]

    with serving(NoLog) as (url, _), pytest.raises(OperationFailed, match="has no log"):
        read(url, "/log/")
