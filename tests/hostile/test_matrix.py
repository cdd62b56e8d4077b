"""A caller who is not the owner learns and changes nothing: each method, URL and situation.

The expected answers are not listed. They follow from the caller, and from the view's methods.
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
    """The parts by which a client can distinguish two answers, and the SQL statements."""

    status: int
    content: bytes
    headers: tuple[tuple[str, str], ...]
    statements: tuple[str, ...]

    @property
    def visible(self) -> tuple[object, ...]:
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
    statements = tuple(query["sql"] for query in captured.captured_queries)
    return Answer(response.status_code, response.getvalue(), tuple(fields), statements)


def expected(route: Route, method: str, *, is_nobody: bool = False) -> int:
    """The status for an operation that does not exist.

    A key in the URL counts only for methods of the view. For others its holder is nobody.
    """
    if method == "OPTIONS" or method not in route.handled:
        return 401 if is_nobody else 200 if method == "OPTIONS" else 405
    return 404


def assert_unknown(client: APIClient, route: Route, operation: Operation, sig: str = "") -> None:
    """Each method answers as for an unknown id, and sends the same SQL statements."""
    query = f"?sig={sig}" if sig else ""
    for method in METHODS:
        answer = ask(client, method, route.url(operation.pk) + query)
        unknown = ask(client, method, route.url(uuid7()) + query)
        assert answer.status == expected(route, method, is_nobody=bool(sig)), (method, answer)
        assert answer.visible == unknown.visible, method
        assert answer.reads == unknown.reads, method
        assert len(answer.statements) == len(unknown.statements), method
        # A method that the view does not have is refused before anything is looked up.
        assert answer.status == 404 or answer.reads == [], method


def each_cell(test: Any) -> Any:
    """Run the test for each URL and situation; the test itself tries the methods."""
    test = pytest.mark.parametrize("operation", SITUATIONS, indirect=True)(test)
    return pytest.mark.parametrize("route", OF_ONE, ids=str)(test)


@each_cell
def test_stranger__learns_and_changes_nothing(
    caller: Caller, stranger: AbstractBaseUser, operation: Operation, route: Route
) -> None:
    client, before = caller(stranger), everything()
    assert_unknown(client, route, operation)
    assert everything() == before


@each_cell
@pytest.mark.parametrize("authorization", ["", "Token no-such-token"])
def test_nobody__is_401_for_each_method_and_url(
    caller: Caller, operation: Operation, route: Route, authorization: str
) -> None:
    client, before = caller(authorization=authorization), everything()
    for method in METHODS:
        answers = [ask(client, method, route.url(pk)) for pk in (operation.pk, uuid7(), "odd")]
        assert {answer.status for answer in answers} == {401}, method
        assert len({answer.visible for answer in answers}) == 1, method
        assert {len(answer.statements) for answer in answers} == {bool(authorization)}, method
    assert everything() == before


def another(operation: Operation) -> str:
    """A valid key of another operation."""
    own = services.submit(tasks.echo, owner="another")
    return valet_keys.make(own.pk, scope="cancel", seconds=60)


def expired(operation: Operation) -> str:
    return valet_keys.make(operation.pk, scope="cancel", seconds=-1)


def raised(operation: Operation) -> str:
    """A key to read, changed into a key to cancel."""
    key = valet_keys.make(operation.pk, scope="read", seconds=60)
    return key.replace("read", "cancel")


def prolonged(operation: Operation) -> str:
    scope, expiry, signature = expired(operation).split(".")
    return f"{scope}.{int(expiry) + 3600}.{signature}"


def twice(operation: Operation) -> str:
    """Two valid keys: neither counts."""
    keys = [valet_keys.make(operation.pk, scope="cancel", seconds=60) for _ in range(2)]
    return "&sig=".join(keys)


def odd(operation: Operation) -> str:
    """A key signed for a scope that does not exist."""
    return valet_keys.make(operation.pk, scope=cast(Any, "everything"), seconds=60)


BAD: list[Callable[[Operation], str]] = [
    twice,
    odd,
    lambda operation: "x",
    lambda operation: "%00",
    lambda operation: "x&sig=",
]


@each_cell
@pytest.mark.parametrize("forge", [another, expired, raised, prolonged])
def test_holder__of_a_key_that_does_not_match_learns_and_changes_nothing(
    caller: Caller, operation: Operation, route: Route, forge: Callable[[Operation], str]
) -> None:
    sig, before = forge(operation), everything()
    assert_unknown(caller(), route, operation, sig)
    assert everything() == before


@pytest.mark.parametrize("operation", ["running", "value"], indirect=True)
@pytest.mark.parametrize("route", OF_ONE, ids=str)
def test_holder__of_a_malformed_key_learns_and_changes_nothing(
    caller: Caller, operation: Operation, route: Route
) -> None:
    before = everything()
    for forge in BAD:
        assert_unknown(caller(), route, operation, forge(operation))
    assert everything() == before


@each_cell
def test_holder__of_a_key_to_read_changes_nothing(
    caller: Caller, operation: Operation, route: Route
) -> None:
    """It reads like the owner. Other methods answer as for an unknown operation."""
    client, before = caller(), everything()
    query = f"?sig={valet_keys.make(operation.pk, scope='read', seconds=60)}"
    for method in METHODS:
        answer = ask(client, method, route.url(operation.pk) + query)
        if method in {"GET", "HEAD"} & route.handled:
            assert (answer.status == 404) == operation.was_deleted, method
        else:
            unknown = ask(client, method, route.url(uuid7()) + query)
            assert answer.status == expected(route, method, is_nobody=True)
            assert answer.visible == unknown.visible, method
    assert everything() == before


@each_cell
def test_holder__of_a_key_to_cancel_is_nobody_for_other_methods(
    caller: Caller, operation: Operation, route: Route
) -> None:
    query = f"?sig={valet_keys.make(operation.pk, scope='cancel', seconds=60)}"
    url = route.url(operation.pk)
    for method in METHODS:
        if method == "OPTIONS" or method not in route.handled:
            answers = {ask(caller(), method, url + end).visible for end in (query, "")}
            assert len(answers) == 1, method


@each_cell
def test_owner__is_allowed(api: APIClient, operation: Operation, route: Route) -> None:
    """Otherwise the other tests would prove nothing."""
    for method in METHODS:
        answer = ask(api, method, route.url(operation.pk))
        if method == "OPTIONS" or method not in route.handled:
            assert answer.status == expected(route, method), method
        elif operation.is_gone:
            assert answer.status == (404 if operation.was_deleted else 410), method
        else:
            assert answer.status in {200, 202, 204, 302, 409, 422}, method


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("route", OF_ONE, ids=str)
@pytest.mark.parametrize("sig", ["", "?sig=read.9999999999.x"])
def test_malformed__id_is_answered_like_an_unknown_id_without_a_query(
    caller: Caller, stranger: AbstractBaseUser, route: Route, method: str, sig: str
) -> None:
    client = caller(stranger)
    unknown = ask(client, method, route.url(uuid7()) + sig)
    assert unknown.status == expected(route, method)
    for text in MALFORMED:
        malformed = ask(client, method, route.url(text) + sig)
        assert malformed.visible == unknown.visible, text
        assert malformed.reads == []


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("route", [route for route in ROUTES if not route.takes_id], ids=str)
def test_collection__is_empty_for_a_stranger_and_401_for_nobody(
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


def test_list__filters_and_cursors_find_only_own_operations(
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
        assert ids(client.get(f"/api/operations/?{query}")) <= set(own), query
    assert ids(client.get("/api/operations/")) == set(own)


def ids(response: Any) -> set[str]:
    """The ids in a list."""
    return {operation["id"] for operation in response.json()["results"]}


@pytest.mark.parametrize("operation", SITUATIONS, indirect=True)
@pytest.mark.parametrize("route", OF_ONE, ids=str)
def test_conditions__tell_a_stranger_nothing(
    caller: Caller, stranger: AbstractBaseUser, operation: Operation, route: Route
) -> None:
    """A correct guess of the entity tag is not confirmed by 304 or 412."""
    client = caller(stranger)
    operation.refresh_from_db()
    method = "GET" if "GET" in route.handled else "POST"
    tag = f'W/"{operation.version}"'
    for field in ("If-None-Match", "If-Match", "If-Range", "Last-Event-ID", "Range", "Prefer"):
        for value in (tag, "*", "bytes=0-", "wait=1"):
            answer = ask(client, method, route.url(operation.pk), **{field: value})
            unknown = ask(client, method, route.url(uuid7()), **{field: value})
            assert (answer.status, answer.visible) == (404, unknown.visible)
