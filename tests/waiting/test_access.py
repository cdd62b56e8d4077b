"""Who may see what: the same whether a request waits or not, and while it does."""

import asyncio
import time
from collections.abc import Callable
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import AbstractBaseUser
from django.db import connections, transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from pytest_django import Settings
from rest_framework.authtoken.models import Token

from async_reply import services
from async_reply.database import alias
from async_reply.models import Operation
from async_reply.protocol import valet_keys
from async_reply.waiting import answers, executor, ticker
from tests.project.tasks import echo
from tests.waiting.client import Exchange
from tests.waiting.conftest import Site, in_database

pytestmark = pytest.mark.django_db(transaction=True)

PATHS = ["", "monitor/", "events/"]
#: Refused at once, or answered in the time; either way the client is not left hanging.
SHORT = "wait=1"


def url(operation: Operation, name: str = "") -> str:
    return f"/api/operations/{operation.pk}/{name}"


@pytest.fixture
def strangers(stranger: Any) -> str:
    """A token of somebody else's."""
    token, _ = Token.objects.get_or_create(user=stranger)
    return f"Token {token}"


def key(seconds: float = 60, *, of: Any = None, scope: Any = "read") -> Callable[[Operation], str]:
    return lambda operation: valet_keys.make(of or operation.pk, scope=scope, seconds=seconds)


CALLERS: dict[str, tuple[int, Callable[[Operation], str] | None]] = {
    "owner": (200, None),
    "stranger": (404, None),
    "nobody": (401, None),
    "unknown token": (401, None),
    "valet key": (200, key()),
    "valet key that may cancel": (200, key(scope="cancel")),
    "expired valet key": (404, key(-1)),
    "valet key of another": (404, key(of=UUID(int=1))),
    "no valet key": (404, lambda operation: "read.9999999999.x"),
}


def ask(site: Site, operation: Operation, caller: str, path: str, token: str, prefer: str) -> Any:
    make = CALLERS[caller][1]
    credentials = {
        "owner": f"Token {site.token}",
        "stranger": token,
        "unknown token": "Token x",
    }
    fields = {"prefer": prefer} if prefer else {}
    if caller in credentials:
        fields["authorization"] = credentials[caller]
    query = f"?sig={make(operation)}" if make else ""
    return Exchange(site.application, "GET", url(operation, path) + query, None, fields)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("caller", CALLERS)
def test_matrix__waiting_or_not(
    site: Site, operation: Operation, strangers: str, caller: str, path: str
) -> None:
    async def talk() -> list[Any]:
        exchanges = []
        for prefer in ("", SHORT):
            exchange = ask(site, operation, caller, path, strangers, prefer)
            if path == "events/" and CALLERS[caller][0] == 200:
                await exchange.until(b"pending")
                exchange.leave()
            exchanges.append(await exchange.done())
        return exchanges

    plain, waited = asyncio.run(talk())
    assert [plain.status, waited.status] == [CALLERS[caller][0]] * 2
    if plain.status != 200:
        assert (waited.headers, waited.body) == (plain.headers, plain.body)


@pytest.mark.parametrize("name", ["owner", "valet key"])
def test_throttled__waiting_or_not(
    site: Site, operation: Operation, settings: Settings, name: str
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "POLL_RATE": "2/day"}

    async def talk() -> list[int]:
        found = []
        for prefer in (SHORT, "", SHORT, ""):
            exchange = ask(site, operation, name, "monitor/", "", prefer)
            found.append((await exchange.done()).status)
        return found

    assert asyncio.run(talk()) == [200, 200, 429, 429]


def lose_token(site: Site, operation: Operation) -> None:
    Token.objects.filter(user=site.user).delete()


def lose_account(site: Site, operation: Operation) -> None:
    site.user.is_active = False
    site.user.save()


def lose_operation(site: Site, operation: Operation) -> None:
    Operation.objects.filter(owner=str(site.user.pk)).update(owner="somebody else")


def lose_by_delete(site: Site, operation: Operation) -> None:
    with transaction.atomic():  # else its end may be told before it is gone
        services.cancel(Operation.objects.get())
        services.delete(Operation.objects.get())


Loss = Callable[[Site, Operation], None]
LOSSES = [(lose_token, 401), (lose_account, 401), (lose_operation, 404), (lose_by_delete, 404)]


@pytest.mark.parametrize("path", ["", "monitor/"])
@pytest.mark.parametrize(("lose", "status"), LOSSES)
def test_parked__poll_is_refused_to_who_may_not_any_more(
    site: Site, operation: Operation, lose: Loss, status: int, path: str
) -> None:
    async def talk() -> Any:
        poll = site.get(url(operation, path), prefer="wait=50")
        await site.until_waiting()
        await in_database(lambda: lose(site, operation))
        await site.work()
        return await poll.done()

    assert asyncio.run(talk()).status == status


@pytest.mark.parametrize("path", ["", "monitor/"])
def test_parked__poll_over_time_is_refused_as_well(
    site: Site, operation: Operation, path: str
) -> None:
    async def talk() -> Any:
        poll = site.get(url(operation, path), prefer="wait=1")
        await site.until_waiting()
        await in_database(lambda: lose_token(site, operation))
        return await poll.done()

    assert asyncio.run(talk()).status == 401


WHICH = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT CONNECTION_ID()"}
KILL = {"postgresql": "SELECT pg_terminate_backend(%s)", "mysql": "KILL CONNECTION %s"}


def execute(statements: dict[str, str], *arguments: Any) -> Any:
    connection = connections[alias()]
    with connection.cursor() as cursor:
        cursor.execute(statements[connection.vendor], arguments)
        return cursor.fetchone()


@pytest.mark.skipif(connections[alias()].vendor not in KILL, reason="nobody else ends a connection")
@pytest.mark.parametrize("path", ["", "monitor/"])
@pytest.mark.parametrize("middleware", [[], [f"{__name__}.looking_into_the_database"]])
def test_parked__poll_over_time_survives_a_lost_connection(
    site: Site,
    operation: Operation,
    settings: Settings,
    path: str,
    middleware: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ticker, "TICK_SECONDS", 60.0)  # else it is the tick that finds out
    monkeypatch.setattr(executor, "IDLE_SECONDS", 5.0)  # the thread keeps its connection
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, *middleware]

    async def talk() -> Any:
        poll = site.get(url(operation, path), prefer="wait=1")
        await site.until_waiting()
        caller = ("owner", str(site.user.pk))
        session = executor.executor.submit(caller, lambda: execute(WHICH))
        (number,) = await asyncio.wrap_future(session)
        await in_database(lambda: execute(KILL, number))
        return await poll.done()

    answer = asyncio.run(talk())
    assert (answer.status, answer.json()["status"]) == (200, "pending")


def looking_into_the_database(get_response: Any) -> Any:
    """A middleware; its errors are not those of our views."""

    def look(request: HttpRequest) -> HttpResponseBase:
        Token.objects.count()
        response: HttpResponseBase = get_response(request)
        return response

    return look


@pytest.mark.parametrize(("lose", "status"), LOSSES)
def test_parked__stream_ends_before_the_event_of_who_may_not_any_more(
    site: Site, operation: Operation, lose: Loss, status: int
) -> None:
    async def talk() -> Any:
        stream = site.get(url(operation, "events/"))
        await stream.until(b"pending")
        await in_database(lambda: lose(site, operation))
        await site.work()
        ended = await stream.done()
        return ended, await site.get(url(operation, "events/")).done()

    ended, again = asyncio.run(talk())
    assert [event["event"] for event in ended.events()] == ["pending"]
    assert again.status == status


def test_parked__who_asked_the_same_is_told_the_same(
    site: Site, operation: Operation, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    asked: list[str] = []
    handler = answers._handler(tuple(settings.MIDDLEWARE))
    ask = handler.get_response

    def note(request: HttpRequest) -> HttpResponseBase:
        asked.append(request.path)
        return ask(request)

    monkeypatch.setattr(handler, "get_response", note)

    async def talk() -> list[Any]:
        polls = [site.get(url(operation, "monitor/"), prefer="wait=50") for _ in range(5)]
        others = [site.get(url(operation), prefer="wait=50", accept="*/*") for _ in range(5)]
        await site.until_waiting(10)
        await site.work()
        return [(await each.done()).status for each in (*polls, *others)]

    assert asyncio.run(talk()) == [200] * 5 + [302] * 5
    assert sorted(asked) == [url(operation), url(operation, "monitor/")]


def test_parked__cookies_are_each_clients_own(
    site: Site, operation: Operation, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    numbers = count()
    handler = answers._handler(tuple(settings.MIDDLEWARE))
    ask = handler.get_response

    def baking(request: HttpRequest) -> HttpResponseBase:
        response = ask(request)
        response.set_cookie("visitor", str(next(numbers)))
        return response

    monkeypatch.setattr(handler, "get_response", baking)

    async def talk() -> list[str]:
        polls = [site.get(url(operation, "monitor/"), prefer="wait=50") for _ in range(2)]
        await site.until_waiting(2)
        await site.work()
        return [(await each.done()).headers["Set-Cookie"] for each in polls]

    assert sorted(asyncio.run(talk())) == ["visitor=0; Path=/", "visitor=1; Path=/"]


@pytest.mark.parametrize(("lose", "status"), LOSSES)
def test_parked__submit_that_was_accepted_is_never_answered_as_refused(
    site: Site, lose: Loss, status: int
) -> None:
    """Nor is it told the reply: that is refused to who may not read it any more."""

    async def talk() -> Any:
        submit = site.say("POST", "/echoes/", {"number": 7}, prefer="wait=50")
        await site.until_waiting()
        await in_database(lambda: lose(site, Operation.objects.get()))
        await site.work()
        return await submit.done()

    answer = asyncio.run(talk())
    assert (answer.status, answer.json()["status"]) == (202, "pending")
    assert answer.headers["Location"].endswith(url(Operation.objects.get()))


def test_parked__wait_ends_a_second_before_the_valet_key(site: Site, operation: Operation) -> None:
    """The answer asks for the key once more: an end at the same moment would be a 404."""
    sig = valet_keys.make(operation.pk, scope="read", seconds=4)
    left = valet_keys.expiry(sig) - time.time()

    async def talk() -> Any:
        return await site.get(url(operation) + f"?sig={sig}", prefer="wait=50").done()

    poll = asyncio.run(talk())
    assert poll.status == 200
    assert int(poll.headers["Preference-Applied"].removeprefix("wait=")) <= left - 1


def test_parked__stream_ends_with_the_valet_key(site: Site, operation: Operation) -> None:
    async def talk() -> Any:
        sig = valet_keys.make(operation.pk, scope="read", seconds=5)
        link = url(operation, "events/") + f"?sig={sig}"
        ended = await site.get(link).done()
        return ended, await site.get(link).done()

    ended, again = asyncio.run(talk())
    assert (ended.status, again.status) == (200, 404)


def test_nobody__submit_waits_for_a_signed_result(site: Site) -> None:
    async def talk() -> Any:
        submit = Exchange(site.application, "POST", "/open/", {"number": 7}, {"prefer": "wait=50"})
        await site.until_waiting()
        await site.work()
        return await submit.done()

    submit = asyncio.run(talk())
    assert (submit.status, submit.json()) == (200, {"number": 7})
    assert "?sig=" in submit.headers["Content-Location"]


def test_atomic_requests__wait_sees_what_others_commit(
    site: Site, user: AbstractBaseUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)
    operation = services.submit(echo, input={"number": 7}, owner=str(user.pk))

    async def talk() -> Any:
        poll = site.get(url(operation), prefer="wait=50")
        submit = site.say("POST", "/echoes/", {"number": 8}, prefer="wait=50")
        await site.until_waiting(2)
        await site.work()
        return await poll.done(), await submit.done()

    poll, submit = asyncio.run(talk())
    assert (poll.status, submit.status, submit.json()) == (302, 200, {"number": 8})
