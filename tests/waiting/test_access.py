"""Access to an operation: the same with and without waiting, and checked again after a wait."""

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
#: The test need not finish the operation: the answer comes after a second.
SHORT = "wait=1"


def url(operation: Operation, name: str = "") -> str:
    return f"/api/operations/{operation.pk}/{name}"


@pytest.fixture
def strangers(stranger: Any) -> str:
    """The Authorization field of another user."""
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
def test_access__is_the_same_with_and_without_waiting(
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
def test_throttle__counts_each_poll_once_with_and_without_waiting(
    site: Site, operation: Operation, settings: Settings, name: str
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "POLL_RATE": "2/day"}

    async def talk() -> list[int]:
        statuses = []
        for prefer in (SHORT, "", SHORT, ""):
            exchange = ask(site, operation, name, "monitor/", "", prefer)
            statuses.append((await exchange.done()).status)
        return statuses

    assert asyncio.run(talk()) == [200, 200, 429, 429]


def lose_token(site: Site, operation: Operation) -> None:
    Token.objects.filter(user=site.user).delete()


def lose_account(site: Site, operation: Operation) -> None:
    site.user.is_active = False
    site.user.save()


def lose_operation(site: Site, operation: Operation) -> None:
    Operation.objects.filter(owner=str(site.user.pk)).update(owner="somebody else")


def lose_by_delete(site: Site, operation: Operation) -> None:
    with transaction.atomic():  # otherwise waiters may be told of the end before the delete
        services.cancel(Operation.objects.get())
        services.delete(Operation.objects.get())


Loss = Callable[[Site, Operation], None]
LOSSES = [(lose_token, 401), (lose_account, 401), (lose_operation, 404), (lose_by_delete, 404)]


@pytest.mark.parametrize("path", ["", "monitor/"])
@pytest.mark.parametrize(("lose", "status"), LOSSES)
def test_poll__is_refused_after_its_caller_lost_access(
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
def test_poll__over_time_is_refused_after_its_caller_lost_access(
    site: Site, operation: Operation, path: str
) -> None:
    async def talk() -> Any:
        poll = site.get(url(operation, path), prefer="wait=1")
        await site.until_waiting()
        await in_database(lambda: lose_token(site, operation))
        return await poll.done()

    assert asyncio.run(talk()).status == 401


SESSION = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT CONNECTION_ID()"}
KILL = {"postgresql": "SELECT pg_terminate_backend(%s)", "mysql": "KILL CONNECTION %s"}


def execute(statements: dict[str, str], *arguments: Any) -> Any:
    connection = connections[alias()]
    with connection.cursor() as cursor:
        cursor.execute(statements[connection.vendor], arguments)
        return cursor.fetchone()


@pytest.mark.skipif(connections[alias()].vendor not in KILL, reason="sessions cannot be ended")
@pytest.mark.parametrize("path", ["", "monitor/"])
@pytest.mark.parametrize("middleware", [[], [f"{__name__}.looking_into_the_database"]])
@pytest.mark.parametrize("has_health_checks", [False, True])
def test_poll__over_time_survives_a_lost_connection(
    site: Site,
    operation: Operation,
    settings: Settings,
    path: str,
    middleware: list[str],
    has_health_checks: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(connections.settings[alias()], "CONN_HEALTH_CHECKS", has_health_checks)
    monkeypatch.setattr(ticker, "TICK_SECONDS", 60.0)  # otherwise the ticker meets the error
    monkeypatch.setattr(executor, "IDLE_SECONDS", 5.0)  # the thread keeps its connection
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, *middleware]

    async def talk() -> Any:
        poll = site.get(url(operation, path), prefer="wait=1")
        await site.until_waiting()
        caller = ("owner", str(site.user.pk))
        session = executor.executor.submit(caller, lambda: execute(SESSION))
        (number,) = await asyncio.wrap_future(session)
        await in_database(lambda: execute(KILL, number))
        return await poll.done()

    answer = asyncio.run(talk())
    assert (answer.status, answer.json()["status"]) == (200, "pending")


def test_poll__does_not_check_a_connection_that_was_just_used(
    site: Site, operation: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections.settings[alias()], "CONN_HEALTH_CHECKS", True)
    monkeypatch.setattr(executor, "IDLE_SECONDS", 5.0)  # the thread keeps its connection
    checks: list[Any] = []

    def check(connection: Any) -> bool:
        checks.append(connection)
        return True

    monkeypatch.setattr(type(connections[alias()]), "is_usable", check)

    async def talk() -> list[Any]:
        return [await site.get(url(operation), prefer="wait=1").done() for _ in range(2)]

    assert [answer.status for answer in asyncio.run(talk())] == [200] * 2
    assert checks == []


def looking_into_the_database(get_response: Any) -> Any:
    """A middleware that uses the database outside our views."""

    def look(request: HttpRequest) -> HttpResponseBase:
        Token.objects.count()
        response: HttpResponseBase = get_response(request)
        return response

    return look


@pytest.mark.parametrize(("lose", "status"), LOSSES)
def test_stream__ends_before_the_next_event_after_its_caller_lost_access(
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


def test_follow_up__is_sent_once_for_clients_with_the_same_request(
    site: Site, operation: Operation, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    paths: list[str] = []
    handler = answers._handler(tuple(settings.MIDDLEWARE))
    get_response = handler.get_response

    def note_path(request: HttpRequest) -> HttpResponseBase:
        paths.append(request.path)
        return get_response(request)

    async def talk() -> list[Any]:
        polls = [site.get(url(operation, "monitor/"), prefer="wait=50") for _ in range(5)]
        others = [site.get(url(operation), prefer="wait=50", accept="*/*") for _ in range(5)]
        await site.until_waiting(10)
        monkeypatch.setattr(handler, "get_response", note_path)
        await site.work()
        return [(await exchange.done()).status for exchange in (*polls, *others)]

    assert asyncio.run(talk()) == [200] * 5 + [302] * 5
    assert sorted(paths) == [url(operation), url(operation, "monitor/")]


def test_follow_up__that_sets_a_cookie_is_not_shared(
    site: Site, operation: Operation, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    numbers = count()
    handler = answers._handler(tuple(settings.MIDDLEWARE))
    get_response = handler.get_response

    def set_cookie(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        response.set_cookie("visitor", str(next(numbers)))
        return response

    async def talk() -> list[str]:
        polls = [site.get(url(operation, "monitor/"), prefer="wait=50") for _ in range(2)]
        await site.until_waiting(2)
        monkeypatch.setattr(handler, "get_response", set_cookie)
        await site.work()
        return [(await poll.done()).headers["Set-Cookie"] for poll in polls]

    assert sorted(asyncio.run(talk())) == ["visitor=0; Path=/", "visitor=1; Path=/"]


@pytest.mark.parametrize(("lose", "status"), LOSSES)
def test_submit__is_202_after_its_caller_lost_access(site: Site, lose: Loss, status: int) -> None:
    """The operation is accepted, but its result is refused to a caller without access."""

    async def talk() -> Any:
        submit = site.say("POST", "/echoes/", {"number": 7}, prefer="wait=50")
        await site.until_waiting()
        await in_database(lambda: lose(site, Operation.objects.get()))
        await site.work()
        return await submit.done()

    answer = asyncio.run(talk())
    assert (answer.status, answer.json()["status"]) == (202, "pending")
    assert answer.headers["Location"].endswith(url(Operation.objects.get()))


def test_poll__wait_ends_a_second_before_the_valet_key_expires(
    site: Site, operation: Operation
) -> None:
    """The key is checked again for the answer. Had it expired by then, the answer would be 404."""
    sig = valet_keys.make(operation.pk, scope="read", seconds=4)
    left = valet_keys.expiry(sig) - time.time()

    async def talk() -> Any:
        return await site.get(url(operation) + f"?sig={sig}", prefer="wait=50").done()

    poll = asyncio.run(talk())
    assert poll.status == 200
    assert int(poll.headers["Preference-Applied"].removeprefix("wait=")) <= left - 1


def test_stream__ends_when_the_valet_key_expires(site: Site, operation: Operation) -> None:
    async def talk() -> Any:
        sig = valet_keys.make(operation.pk, scope="read", seconds=5)
        link = url(operation, "events/") + f"?sig={sig}"
        ended = await site.get(link).done()
        return ended, await site.get(link).done()

    ended, again = asyncio.run(talk())
    assert (ended.status, again.status) == (200, 404)


def test_submit__without_an_owner_waits_for_a_signed_result(site: Site) -> None:
    async def talk() -> Any:
        submit = Exchange(site.application, "POST", "/open/", {"number": 7}, {"prefer": "wait=50"})
        await site.until_waiting()
        await site.work()
        return await submit.done()

    submit = asyncio.run(talk())
    assert (submit.status, submit.json()) == (200, {"number": 7})
    assert "?sig=" in submit.headers["Content-Location"]


def test_atomic_requests__wait_sees_later_commits(
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
