"""Requests that are about to wait get one of a few threads."""

import asyncio
import threading
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any

import pytest
from asgiref.sync import SyncToAsync
from django.core.asgi import get_asgi_application
from pytest_django import Settings

from async_reply.models import Operation
from async_reply.waiting import answers
from async_reply.waiting.admission import Admission, AdmittedThread
from tests.waiting.conftest import Site
from tests.waiting.middleware import LoopMiddleware
from tests.waiting.test_application import LONG, finish, url

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


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["monitor/", "events/"])
def test_ask__takes_one_thread_for_the_whole_of_django(
    site: Site, running: Operation, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Django's own ASGI handler passes a request to a thread many times."""
    passes: list[Any] = []
    pass_on = SyncToAsync.__call__

    async def counted(function: Any, *arguments: Any, **options: Any) -> Any:
        passes.append(function)
        return await pass_on(function, *arguments, **options)

    async def talk() -> Any:
        monkeypatch.setattr(SyncToAsync, "__call__", counted)
        client = site.get(url(running, path), prefer=LONG)
        await site.until_waiting()
        monkeypatch.undo()
        await finish(running)
        return await client.done()

    assert b"succeeded" in asyncio.run(talk()).body
    assert passes == []


@pytest.mark.django_db(transaction=True)
def test_ask__leaves_a_thread_for_other_callers(
    site: Site,
    running: Operation,
    django_user_model: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Requests of one caller that are stuck in Django do not delay those of another caller."""
    gate, other = threading.Event(), Site(django_user_model.objects.create(username="eve"))
    other.application = site.application
    respond = answers._respond

    def stuck(*arguments: Any, scope: Any, **options: Any) -> Any:
        if any(value == f"Token {other.token}".encode() for _, value in scope["headers"]):
            gate.wait(30)
        return respond(*arguments, scope=scope, **options)

    monkeypatch.setattr(answers, "_respond", stuck)

    async def talk() -> list[int]:
        known = site.get(url(running, "monitor/"), prefer=LONG)
        await site.until_waiting()
        slow = [other.get(url(running, "monitor/"), prefer=LONG) for _ in range(20)]
        quick = site.get(url(running, "monitor/"), prefer=LONG)
        await site.until_waiting(2)
        gate.set()
        await finish(running)
        return [(await client.done()).status for client in (known, quick, *slow)]

    assert asyncio.run(talk()) == [200] * 2 + [404] * 20


@pytest.mark.django_db(transaction=True)
def test_ask__sees_the_context_of_applications_around_it(
    site: Site, running: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace: ContextVar[str] = ContextVar("trace")
    seen: list[str] = []
    respond = answers._respond

    def noting(*arguments: Any, **options: Any) -> Any:
        seen.append(trace.get(""))
        return respond(*arguments, **options)

    async def around(scope: Any, receive: Any, send: Any) -> None:
        trace.set("t1")
        await site.wrapper(scope, receive, send)

    monkeypatch.setattr(answers, "_respond", noting)

    async def talk() -> None:
        site.application = around
        client = site.get(url(running, "monitor/"), prefer=LONG)
        await site.until_waiting()
        client.leave()
        await client.done()

    asyncio.run(talk())
    assert seen == ["t1"]


@pytest.mark.django_db(transaction=True)
def test_ask__query_that_is_no_text_is_refused(site: Site, running: Operation) -> None:
    async def talk() -> int:
        exchange = site.get(url(running, "monitor/"), prefer=LONG)
        exchange.scope["query_string"] = b"\xff"
        return (await exchange.done()).status

    assert asyncio.run(talk()) == 400


@pytest.mark.django_db(transaction=True)
def test_ask__middleware_of_the_event_loop_runs_in_it(
    site: Site, running: Operation, settings: Settings
) -> None:
    """It may hold connections of the loop. Then Django's own handler serves the request."""
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.waiting.middleware.LoopMiddleware"]
    site.wrapper.wrapped = get_asgi_application()

    async def talk() -> Any:
        client = site.get(url(running, "monitor/"), prefer=LONG)
        await site.until_waiting()
        LoopMiddleware.loops.clear()
        again = site.get(url(running, "monitor/"), prefer=LONG)
        await site.until_waiting(2)
        assert LoopMiddleware.loops == [asyncio.get_running_loop()]
        await finish(running)
        return [(await exchange.done()).json()["status"] for exchange in (client, again)]

    assert asyncio.run(talk()) == ["succeeded"] * 2
