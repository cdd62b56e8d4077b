"""Whoever is not the owner, each method, each URL, each situation: nothing is learnt or changed.

No cell's answer is listed: it follows from the caller, and from whether the view has the method.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import pytest
from django.contrib.auth.models import AbstractBaseUser
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from async_reply import services
from async_reply.database.identifiers import uuid7
from async_reply.models import Operation
from async_reply.protocol import valet_keys
from tests.hostile.conftest import Caller
from tests.hostile.routes import METHODS, OF_ONE, ROUTES, Route
from tests.hostile.situations import SITUATIONS, everything
from tests.project import tasks

pytestmark = pytest.mark.django_db

MALFORMED = ("not-an-id", "%00", "%0d%0aX:%20y", "..", "0" * 500, "%F0%9F%92%A9", "-1")


@dataclass(frozen=True)
class Answer:
    """What a client can tell two answers apart by, and the statements they took."""

    status: int
    content: bytes
    headers: tuple[tuple[str, str], ...]
    statements: tuple[str, ...]

    @property
    def told(self) -> tuple[object, ...]:
        return self.status, self.content, self.headers

    @property
    def reads(self) -> list[str]:
        """The statements about operations, the ids in them masked."""
        masked = (
            re.sub(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}", "{id}", sql)
            for sql in self.statements
        )
        return [sql for sql in masked if "async_reply_" in sql]


def ask(client: APIClient, method: str, url: str, **headers: str) -> Answer:
    with CaptureQueriesContext(connection) as captured:
        response = client.generic(method, url, headers=headers)
    fields = sorted((name, value) for name, value in response.items() if name != "Date")
    statements = tuple(each["sql"] for each in captured.captured_queries)
    return Answer(response.status_code, response.getvalue(), tuple(fields), statements)


def expected(route: Route, method: str, *, is_nobody: bool = False) -> int:
    """What anybody hears of an operation that does not exist.

    A key in the URL is looked at where an operation is asked for; else nobody stays nobody.
    """
    if method == "OPTIONS" or method not in route.handled:
        return 401 if is_nobody else 200 if method == "OPTIONS" else 405
    return 404


def assert_unknown(client: APIClient, route: Route, prey: Operation, sig: str = "") -> None:
    """Each method says of `prey` what it says of an id that nothing has, by the same statements."""
    query = f"?sig={sig}" if sig else ""
    for method in METHODS:
        answer = ask(client, method, route.url(prey.pk) + query)
        unknown = ask(client, method, route.url(uuid7()) + query)
        assert answer.status == expected(route, method, is_nobody=bool(sig)), (method, answer)
        assert answer.told == unknown.told, method
        assert answer.reads == unknown.reads, method
        assert len(answer.statements) == len(unknown.statements), method
        # Whether the URL has the method is settled before anything is looked up.
        assert answer.status == 404 or answer.reads == [], method


def each_cell(test: Any) -> Any:
    """Each URL of an operation in each situation; a test goes through the methods itself."""
    test = pytest.mark.parametrize("prey", SITUATIONS, indirect=True)(test)
    return pytest.mark.parametrize("route", OF_ONE, ids=str)(test)


@each_cell
def test_stranger__learns_and_changes_nothing(
    caller: Caller, stranger: AbstractBaseUser, prey: Operation, route: Route
) -> None:
    client, before = caller(stranger), everything()
    assert_unknown(client, route, prey)
    assert everything() == before


@each_cell
@pytest.mark.parametrize("authorization", ["", "Token no-such-token"])
def test_nobody__is_401_whatever_is_asked(
    caller: Caller, prey: Operation, route: Route, authorization: str
) -> None:
    client, before = caller(authorization=authorization), everything()
    for method in METHODS:
        answers = [ask(client, method, route.url(each)) for each in (prey.pk, uuid7(), "odd")]
        assert {answer.status for answer in answers} == {401}, method
        assert len({answer.told for answer in answers}) == 1, method
        assert {len(answer.statements) for answer in answers} == {bool(authorization)}, method
    assert everything() == before


def another(prey: Operation) -> str:
    """A good key, to another operation."""
    mine = services.submit(tasks.echo, owner="another")
    return valet_keys.make(mine.pk, scope="cancel", seconds=60)


def over(prey: Operation) -> str:
    return valet_keys.make(prey.pk, scope="cancel", seconds=-1)


def raised(prey: Operation) -> str:
    """A key to read, made to say that it is one to cancel."""
    key = valet_keys.make(prey.pk, scope="read", seconds=60)
    return key.replace("read", "cancel")


def prolonged(prey: Operation) -> str:
    scope, expiry, signature = over(prey).split(".")
    return f"{scope}.{int(expiry) + 3600}.{signature}"


def twice(prey: Operation) -> str:
    """Two good keys: which of them counts is not for us to choose."""
    keys = [valet_keys.make(prey.pk, scope="cancel", seconds=60) for _ in range(2)]
    return "&sig=".join(keys)


def odd(prey: Operation) -> str:
    """A key that was signed for a scope that there is not."""
    return valet_keys.make(prey.pk, scope=cast(Any, "everything"), seconds=60)


BAD: list[Callable[[Operation], str]] = [
    twice,
    odd,
    lambda prey: "x",
    lambda prey: "%00",
    lambda prey: "x&sig=",
]


@each_cell
@pytest.mark.parametrize("forge", [another, over, raised, prolonged])
def test_holder__of_a_key_that_does_not_fit_learns_and_changes_nothing(
    caller: Caller, prey: Operation, route: Route, forge: Callable[[Operation], str]
) -> None:
    sig, before = forge(prey), everything()
    assert_unknown(caller(), route, prey, sig)
    assert everything() == before


@pytest.mark.parametrize("prey", ["running", "value"], indirect=True)
@pytest.mark.parametrize("route", OF_ONE, ids=str)
def test_holder__of_what_is_no_key_learns_and_changes_nothing(
    caller: Caller, prey: Operation, route: Route
) -> None:
    before = everything()
    for forge in BAD:
        assert_unknown(caller(), route, prey, forge(prey))
    assert everything() == before


@each_cell
def test_holder__of_a_key_to_read_changes_nothing(
    caller: Caller, prey: Operation, route: Route
) -> None:
    """What it may see it sees as the owner does; what it may not is an unknown operation."""
    client, before = caller(), everything()
    query = f"?sig={valet_keys.make(prey.pk, scope='read', seconds=60)}"
    for method in METHODS:
        answer = ask(client, method, route.url(prey.pk) + query)
        if method in {"GET", "HEAD"} & route.handled:
            assert (answer.status == 404) == prey.was_deleted, method
        else:
            unknown = ask(client, method, route.url(uuid7()) + query)
            assert answer.status == expected(route, method, is_nobody=True)
            assert answer.told == unknown.told, method
    assert everything() == before


@each_cell
def test_holder__of_a_key_to_cancel_is_nobody_where_no_operation_is_asked_for(
    caller: Caller, prey: Operation, route: Route
) -> None:
    query = f"?sig={valet_keys.make(prey.pk, scope='cancel', seconds=60)}"
    for method in METHODS:
        if method == "OPTIONS" or method not in route.handled:
            told = {ask(caller(), method, route.url(prey.pk) + each).told for each in (query, "")}
            assert len(told) == 1, method


@each_cell
def test_owner__is_let_in(api: APIClient, prey: Operation, route: Route) -> None:
    """The matrix would prove nothing of operations that nobody can reach."""
    for method in METHODS:
        answer = ask(api, method, route.url(prey.pk))
        if method == "OPTIONS" or method not in route.handled:
            assert answer.status == expected(route, method), method
        elif prey.is_gone:
            assert answer.status == (404 if prey.was_deleted else 410), method
        else:
            assert answer.status in {200, 202, 204, 302, 409, 422}, method


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("route", OF_ONE, ids=str)
@pytest.mark.parametrize("sig", ["", "?sig=read.9999999999.x"])
def test_malformed__id_is_an_unknown_one_and_is_not_looked_up(
    caller: Caller, stranger: AbstractBaseUser, route: Route, method: str, sig: str
) -> None:
    client = caller(stranger)
    unknown = ask(client, method, route.url(uuid7()) + sig)
    assert unknown.status == expected(route, method)
    for each in MALFORMED:
        malformed = ask(client, method, route.url(each) + sig)
        assert malformed.told == unknown.told, each
        assert malformed.reads == []


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("route", [each for each in ROUTES if not each.takes_id], ids=str)
def test_collection__is_empty_for_a_stranger_and_shut_to_nobody(
    caller: Caller, stranger: AbstractBaseUser, victim: Any, route: Route, method: str
) -> None:
    for make in SITUATIONS.values():
        make(str(victim.pk))
    before = everything()
    assert ask(caller(), method, route.url()).status == 401
    answer = ask(caller(stranger), method, route.url())
    assert answer.status == (200 if method in route.handled else 405)
    assert not re.search(rb"[0-9a-f]{8}-[0-9a-f]{4}-7", answer.content)
    assert everything() == before


def test_list__filters_and_cursors_reach_own_ones_only(
    api: APIClient, caller: Caller, stranger: AbstractBaseUser, victim: Any
) -> None:
    theirs = [str(make(str(victim.pk)).pk) for make in SITUATIONS.values()]
    own = [str(services.submit(tasks.echo, owner=str(stranger.pk)).pk) for _ in range(3)]
    client = caller(stranger)
    listed = api.get("/api/operations/?page_size=1").json()
    moment = (timezone.now() - timedelta(days=1)).isoformat().replace("+", "%2B")
    queries = [
        "",
        "kind=tests.project.echo",
        f"created_after={moment}",
        f"owner={victim.pk}",
        f"owner__in={victim.pk},{stranger.pk}&operation=1&id={theirs[0]}",
        listed["next"].partition("?")[2],
        "page_size=100000&ordering=owner",
    ]
    for query in queries:
        found = {each["id"] for each in client.get(f"/api/operations/?{query}").json()["results"]}
        assert found <= set(own), query
    assert {each["id"] for each in client.get("/api/operations/").json()["results"]} == set(own)


@pytest.mark.parametrize("prey", SITUATIONS, indirect=True)
@pytest.mark.parametrize("route", OF_ONE, ids=str)
def test_conditions__tell_a_stranger_nothing(
    caller: Caller, stranger: AbstractBaseUser, prey: Operation, route: Route
) -> None:
    """A guessed entity tag is no oracle, neither by 304 nor by 412."""
    client = caller(stranger)
    prey.refresh_from_db()
    method = "GET" if "GET" in route.handled else "POST"
    tag = f'W/"{prey.version}"'
    for field in ("If-None-Match", "If-Match", "If-Range", "Last-Event-ID", "Range", "Prefer"):
        for value in (tag, "*", "bytes=0-", "wait=1"):
            answer = ask(client, method, route.url(prey.pk), **{field: value})
            unknown = ask(client, method, route.url(uuid7()), **{field: value})
            assert (answer.status, answer.told) == (404, unknown.told)
