"""Clients that the waiting application holds outside Django, in one process."""

import asyncio
import signal
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError
from pytest_django import Settings

from async_reply import documents, lifecycle
from async_reply.asgi import waiting
from async_reply.estimates import forecasts
from async_reply.models import Operation
from async_reply.waiting import registry, ticker
from tests.waiting.conftest import Site, in_database

pytestmark = pytest.mark.django_db(transaction=True)

LONG = "wait=50"


def url(operation: Operation, name: str = "") -> str:
    return f"/api/operations/{operation.pk}/{name}"


async def finish(operation: Operation) -> None:
    assert await in_database(lambda: lifecycle.succeed(operation))


def test_monitor__answers_when_the_operation_has_finished(site: Site, operation: Operation) -> None:
    async def talk() -> Any:
        poll = site.get(url(operation, "monitor/"), prefer=LONG)
        await site.until_waiting()
        await site.work()
        return await poll.done()

    poll = asyncio.run(talk())
    assert (poll.status, poll.json()["status"]) == (200, "succeeded")
    assert poll.json()["resourceLocation"] == f"http://testserver{url(operation, 'result/')}"
    assert poll.headers["Preference-Applied"] == "wait=50"
    assert poll.headers["Etag"] == 'W/"3"'
    assert "Retry-After" not in poll.headers


def test_monitor__answers_like_a_plain_poll(site: Site, operation: Operation) -> None:
    async def talk() -> Any:
        waited = site.get(url(operation, "monitor/"), prefer=LONG)
        await site.until_waiting()
        await site.work()
        return await waited.done(), await site.get(url(operation, "monitor/")).done()

    waited, plain = asyncio.run(talk())
    assert waited.headers.pop("Preference-Applied")
    assert (waited.status, waited.headers, waited.json()) == (
        plain.status,
        plain.headers,
        plain.json(),
    )


def test_status__redirects(site: Site, operation: Operation) -> None:
    async def talk() -> Any:
        poll = site.get(url(operation), prefer=LONG)
        await site.until_waiting()
        await site.work()
        return await poll.done()

    poll = asyncio.run(talk())
    assert (poll.status, poll.headers["Preference-Applied"]) == (302, "wait=50")
    assert poll.headers["Location"] == f"http://testserver{url(operation, 'result/')}"


@pytest.mark.parametrize("name", ["", "monitor/"])
@pytest.mark.parametrize("accept", ["application/json", "text/html"])
def test_poll__over_time_answers_the_present_state(
    site: Site, operation: Operation, name: str, accept: str
) -> None:
    async def talk() -> Any:
        poll = site.get(url(operation, name), prefer="wait=1", accept=accept)
        await site.until_waiting()
        await in_database(lambda: lifecycle.claim(operation, worker="w1"))
        return await poll.done()

    poll = asyncio.run(talk())
    assert poll.status == 200
    assert b"running" in poll.body
    assert poll.headers["Preference-Applied"] == "wait=1"
    assert int(poll.headers["Retry-After"]) >= 1
    assert poll.headers["Etag"] == 'W/"2"'


def test_poll__with_the_present_version_is_304_at_the_end(site: Site, operation: Operation) -> None:
    async def talk() -> Any:
        return await site.get(url(operation), prefer="wait=1", if_none_match='W/"1"').done()

    poll = asyncio.run(talk())
    assert (poll.status, poll.body) == (304, b"")


def test_poll__is_404_if_the_operation_is_deleted_meanwhile(
    site: Site, operation: Operation
) -> None:
    async def talk() -> Any:
        poll = site.get(url(operation, "monitor/"), prefer=LONG)
        await site.until_waiting()
        await in_database(lambda: Operation.objects.filter(pk=operation.pk).delete())
        return await poll.done()

    assert asyncio.run(talk()).status == 404


def test_submit__answers_the_result(site: Site) -> None:
    async def talk() -> Any:
        submit = site.say("POST", "/echoes/", {"number": 7}, prefer=LONG)
        await site.until_waiting()
        await site.work()
        return await submit.done()

    submit = asyncio.run(talk())
    assert (submit.status, submit.json()) == (200, {"number": 7})
    assert submit.headers["Preference-Applied"] == "wait=50"
    assert submit.headers["Content-Location"].endswith("/result/")
    assert not {"Location", "Operation-Location", "Retry-After"} & set(submit.headers)


@pytest.mark.parametrize("seconds", [50, 1])
def test_submit__waits_by_default_as_the_project_says(
    site: Site, settings: Settings, seconds: int
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "DEFAULT_WAIT": seconds}

    async def talk() -> Any:
        submit = site.say("POST", "/echoes/", {"number": 7})
        await site.until_waiting()
        if seconds > 1:
            await site.work()
        return await submit.done()

    submit = asyncio.run(talk())
    assert submit.status == (200 if seconds > 1 else 202)
    assert "Preference-Applied" not in submit.headers


def test_submit__result_has_the_fields_about_the_key(site: Site) -> None:
    fields = {"prefer": LONG, "repeatability_request_id": "k"}

    async def talk() -> Any:
        submits = []
        for number in (1, 2):
            submits.append(site.say("POST", "/echoes/", {"number": 7}, **fields))
            await site.until_waiting(number)
        await site.work()
        return [await submit.done() for submit in submits]

    first, again = asyncio.run(talk())
    assert first.json() == again.json() == {"number": 7}
    for submit, replayed in ((first, None), (again, "true")):
        assert submit.headers["Repeatability-Result"] == "accepted"
        assert submit.headers.get("Idempotent-Replayed") == replayed


def test_submit__unfinished_in_time_is_202(site: Site) -> None:
    async def talk() -> Any:
        return await site.say("POST", "/echoes/", {}, prefer="respond-async, wait=1").done()

    submit = asyncio.run(talk())
    assert (submit.status, submit.json()["status"]) == (202, "pending")
    assert submit.headers["Preference-Applied"] == "respond-async, wait=1"
    assert int(submit.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_submit__is_202_without_a_database(
    site: Site, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(forecast: forecasts.Forecast) -> int:
        raise error

    async def talk() -> Any:
        submit = site.say("POST", "/echoes/", {}, prefer="wait=1")
        await site.until_waiting()
        monkeypatch.setattr(forecasts.Forecast, "retry_after", property(fail))
        return await submit.done()

    assert asyncio.run(talk()).status == 202


def test_submit__is_202_if_its_result_cannot_be_read(site: Site) -> None:
    """The database goes away between the end and the answer, but the operation is accepted."""
    django = site.wrapper.wrapped

    async def failing_reads(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "POST":
            await django(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body", "body": b"away"})

    async def talk() -> Any:
        site.wrapper.wrapped = failing_reads
        submit = site.say("POST", "/echoes/", {}, prefer=LONG)
        await site.until_waiting()
        await site.work()
        return await submit.done()

    assert asyncio.run(talk()).status == 202


@pytest.mark.parametrize("path", ["", "monitor/", "events/"])
def test_client__that_leaves_waits_no_more(site: Site, operation: Operation, path: str) -> None:
    async def talk() -> None:
        poll = site.get(url(operation, path), prefer=LONG)
        await site.until_waiting()
        poll.leave()
        await poll.task
        assert ticker.ticker.waiting == 0
        assert not site.wrapper.registry.clients

    asyncio.run(talk())


@pytest.mark.parametrize("path", ["", "monitor/", "events/"])
def test_client__canceled_by_the_server_leaves_no_timer(
    site: Site, operation: Operation, path: str
) -> None:
    async def talk() -> list[Any]:
        loop: Any = asyncio.get_running_loop()
        poll = site.get(url(operation, path), prefer=LONG)
        await site.until_waiting()
        poll.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await poll.task
        return [timer for timer in loop._scheduled if not timer.cancelled()]

    assert asyncio.run(talk()) == []
    assert ticker.ticker.waiting == 0


@pytest.mark.parametrize("path", ["", "monitor/", "events/"])
def test_stop__answers_all_clients_and_lets_no_more_wait(
    site: Site, operation: Operation, path: str
) -> None:
    async def talk() -> Any:
        first = site.get(url(operation, path), prefer=LONG)
        await site.until_waiting()
        site.wrapper.registry.close()
        return await first.done(), await site.get(url(operation, path), prefer=LONG).done()

    for exchange in asyncio.run(talk()):
        assert exchange.status == 200
        assert b"pending" in exchange.body


@pytest.mark.parametrize("path", ["monitor/", "events/"])
def test_stop__while_a_client_is_about_to_wait(site: Site, operation: Operation, path: str) -> None:
    django = site.wrapper.wrapped

    async def stopping(scope: Any, receive: Any, send: Any) -> None:
        await django(scope, receive, send)
        site.wrapper.registry.close()

    async def talk() -> Any:
        site.wrapper.wrapped = stopping
        return await site.get(url(operation, path), prefer=LONG).done()

    assert b"pending" in asyncio.run(talk()).body


def test_stop__by_lifespan(site: Site, operation: Operation) -> None:
    """The wrapped application gets the shutdown, and clients that wait are answered."""
    types = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        types.append((await receive())["type"])

    async def stop() -> Any:
        return {"type": "lifespan.shutdown"}

    async def talk() -> Any:
        poll = site.get(url(operation), prefer=LONG)
        await site.until_waiting()
        site.wrapper.wrapped, django = application, site.wrapper.wrapped
        await site.application({"type": "lifespan"}, stop, None)
        site.wrapper.wrapped = django
        return await poll.done()

    assert asyncio.run(talk()).status == 200
    assert types == ["lifespan.shutdown"]


def test_stop__by_signal_reaches_each_application_of_the_process(
    site: Site, operation: Operation
) -> None:
    signums: list[int] = []
    wrappers = [site.wrapper, waiting(site.wrapper.wrapped)]
    before = signal.signal(signal.SIGTERM, lambda signum, frame: signums.append(signum))

    async def talk() -> list[int]:
        polls = []
        for number, site.application in enumerate(wrappers * 2, 1):
            polls.append(site.get(url(operation), prefer=LONG))
            await site.until_waiting(number)
        signal.raise_signal(signal.SIGTERM)
        return [(await poll.done()).status for poll in polls]

    try:
        assert asyncio.run(talk()) == [200] * 4
    finally:
        signal.signal(signal.SIGTERM, before)
    assert signums == [signal.SIGTERM]


def test_other__protocols_pass_unchanged(site: Site) -> None:
    calls = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        calls.append((scope, receive, send))

    site.wrapper.wrapped = application
    scope = {"type": "websocket"}
    asyncio.run(site.application(scope, 1, 2))
    assert calls == [(scope, 1, 2)]


def test_other__responses_stream_through(site: Site) -> None:
    """Also if the client accepts event streams from a URL that is not ours."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(2):
            await send({"type": "http.response.body", "body": b"part", "more_body": True})
            await asyncio.sleep(0)
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"

    async def talk() -> None:
        site.wrapper.wrapped = application
        other = site.get("/elsewhere/", accept="text/event-stream", prefer=LONG)
        await other.until(b"partpart")
        other.leave()
        await other.done()

    asyncio.run(talk())


def test_admission__lets_few_of_many_requests_into_django(
    site: Site, running: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all requests that arrive together, WAIT_THREADS are inside Django at a time."""
    inside, most = 0, 0
    django = site.wrapper.wrapped

    async def counting(scope: Any, receive: Any, send: Any) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await django(scope, receive, send)
        inside -= 1

    async def talk() -> None:
        site.wrapper.wrapped = counting
        polls = [site.get(url(running, "monitor/"), prefer=LONG) for _ in range(30)]
        await site.until_waiting(30)
        await finish(running)
        assert [(await poll.done()).json()["status"] for poll in polls] == ["succeeded"] * 30

    asyncio.run(talk())
    assert most == 2


def test_answer__is_rendered_once_for_all_clients(
    site: Site, running: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[Any] = []
    describe = documents.describe

    def counted(*arguments: Any, **options: Any) -> Any:
        rendered.append(arguments)
        return describe(*arguments, **options)

    async def talk() -> None:
        polls = [site.get(url(running, "monitor/"), prefer=LONG) for _ in range(5)]
        await site.until_waiting(5)
        monkeypatch.setattr(documents, "describe", counted)
        await finish(running)
        for poll in polls:
            await poll.done()

    asyncio.run(talk())
    assert len(rendered) == 1


@pytest.mark.parametrize("path", ["", "monitor/", "events/"])
def test_wait_threads__0_lets_nobody_wait(
    site: Site, operation: Operation, settings: Settings, path: str
) -> None:
    """Each request is answered at once, as it is under WSGI."""
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "WAIT_THREADS": 0}

    async def talk() -> Any:
        submit = site.say("POST", "/echoes/", {"number": 7}, prefer=LONG)
        poll = site.get(url(operation, path), prefer=LONG)
        return await submit.done(), await poll.done()

    submit, poll = asyncio.run(talk())
    assert (submit.status, submit.json()["status"]) == (202, "pending")
    assert poll.status == 200
    assert b"pending" in poll.body
    for exchange in (submit, poll):
        assert "Preference-Applied" not in exchange.headers
    assert not ticker.ticker.is_running


def test_wait_threads__0_still_answers_a_submit_that_has_finished(
    site: Site, settings: Settings
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "WAIT_THREADS": 0}
    fields = {"prefer": LONG, "idempotency_key": "k"}

    async def talk() -> Any:
        await site.say("POST", "/echoes/", {"number": 7}, **fields).done()
        await site.work()
        return await site.say("POST", "/echoes/", {"number": 7}, **fields).done()

    replay = asyncio.run(talk())
    assert (replay.status, replay.json()) == (200, {"number": 7})


def test_wait_threads__1_lets_many_requests_wait(
    site: Site, operation: Operation, settings: Settings
) -> None:
    """One request of a caller is inside Django at a time; all of them come to wait."""
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "WAIT_THREADS": 1}

    async def talk() -> Any:
        polls = [site.get(url(operation, "monitor/"), prefer=LONG) for _ in range(3)]
        await site.until_waiting(3)
        await site.work()
        return [(await poll.done()).json()["status"] for poll in polls]

    assert asyncio.run(talk()) == ["succeeded"] * 3


@pytest.mark.parametrize("path", ["", "monitor/", "events/"])
def test_registry__client_beyond_the_maximum_of_its_caller_is_answered_at_once(
    site: Site, operation: Operation, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(registry, "MAX_CLIENTS_PER_CALLER", 1)

    async def talk() -> Any:
        first = site.get(url(operation, path), prefer=LONG)
        await site.until_waiting()
        second = await site.get(url(operation, path), prefer=LONG).done()
        await site.work()
        return await first.done(), second

    first, second = asyncio.run(talk())
    assert b"pending" in second.body
    assert first.status == (302 if path == "" else 200)
    assert b"succeeded" in first.body
