"""Requests while the database is away: a committed submit is 202, all others are 503."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from pytest_django import Settings
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from async_reply.estimates import backlogs, histories
from async_reply.models import Operation
from async_reply.testing import run_operations
from async_reply.waiting import answers
from tests.concurrency import in_thread, until_waiting
from tests.failover import failover
from tests.project.views import EchoView

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ticker")]


class Outage:
    """After `begin` every statement of a thread that uses this wrapper fails."""

    began = False

    def __call__(self, execute: Callable[..., Any], *statement: Any) -> Any:
        if self.began:
            raise OperationalError("server closed the connection unexpectedly")
        return execute(*statement)

    def begin(self) -> None:
        self.began = True


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> Outage:
    monkeypatch.setattr(histories, "REFRESH_SECONDS", 0)
    monkeypatch.setattr(backlogs, "REFRESH_SECONDS", 0)
    return Outage()


@pytest.mark.parametrize("fields", [{}, {"Prefer": "wait=1"}])
def test_submit__database_goes_away_after_the_commit(
    api: APIClient, outage: Outage, monkeypatch: pytest.MonkeyPatch, fields: dict[str, str]
) -> None:
    def lose(view: EchoView, operation: Operation) -> None:
        transaction.on_commit(outage.begin)

    monkeypatch.setattr(EchoView, "perform_submit", lose)
    with connection.execute_wrapper(outage):
        answer = api.post("/echoes/", {"number": 7}, headers=fields)
    assert (outage.began, answer.status_code, answer["Retry-After"]) == (True, 202, "1")
    assert answer["Location"].endswith(f"/api/operations/{Operation.objects.get().pk}/")


@pytest.mark.parametrize("finishes", [True, False])
def test_submit__database_goes_away_during_the_wait(
    user: Any, outage: Outage, finishes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"Authorization": f"Token {Token.objects.create(user=user)}"}
    api = APIClient(headers=fields, **{"wsgi.multithread": True})
    respond = answers._respond

    def respond_in_outage(*args: Any, **kwargs: Any) -> Any:
        """Django is asked again in a thread with a connection of its own."""
        with connection.execute_wrapper(outage):
            return respond(*args, **kwargs)

    monkeypatch.setattr(answers, "_respond", respond_in_outage)

    def ask() -> Any:
        seconds = 50 if finishes else 1
        with connection.execute_wrapper(outage):
            return api.post("/echoes/", {}, headers={"Prefer": f"wait={seconds}"})

    with in_thread(ask) as asked:
        until_waiting()
        outage.begin()
        if finishes:
            run_operations()
        answer = asked.result()
    assert (answer.status_code, answer["Location"]) == (202, answer.json()["links"]["self"])
    assert int(answer["Retry-After"]) >= 1


def test_poll__is_503(api: APIClient, outage: Outage, submit: Callable[..., Operation]) -> None:
    operation = submit()
    outage.begin()
    with connection.execute_wrapper(outage):
        answer = api.get(f"/api/operations/{operation.pk}/")
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")


#: All requests that write: method, URL and header fields.
WRITES = [
    ("post", "/echoes/", {}),
    ("post", "/echoes/", {"Idempotency-Key": "k1"}),
    ("post", "/echoes/", {"Prefer": "wait=1"}),
    ("post", "/things/7/rebuild/", {}),
    ("post", "/api/operations/{running}/cancel/", {}),
    ("delete", "/api/operations/{running}/", {}),
    ("delete", "/api/operations/{succeeded}/", {}),
    ("delete", "/api/operations/{succeeded}/result/", {}),
]


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
@pytest.mark.parametrize("bounded", [False, True], ids=["", "near the quota"])
@pytest.mark.parametrize(("method", "url", "fields"), WRITES)
def test_write__during_a_failover_is_503(
    api: APIClient,
    running: Operation,
    succeeded: Operation,
    settings: Settings,
    method: str,
    url: str,
    fields: dict[str, str],
    bounded: bool,
    accept: str,
) -> None:
    """A read-only server raises InternalError, which must not become a 500 in HTML."""
    if bounded:
        settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "MAX_UNFINISHED": 10}
    path = url.format(running=running.pk, succeeded=succeeded.pk)
    before = list(Operation.objects.order_by("pk").values())
    with failover():
        answer = getattr(api, method)(path, {}, headers={**fields, "Accept": accept})
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert answer.data["type"].endswith("database-unavailable")
    assert list(Operation.objects.order_by("pk").values()) == before
    assert getattr(api, method)(path, {}, headers=fields).status_code < 300


@pytest.mark.parametrize("end", ["", "result/"])
def test_poll__is_answered_during_a_failover(
    api: APIClient, succeeded: Operation, end: str
) -> None:
    with failover():
        assert api.get(f"/api/operations/{succeeded.pk}/{end}").status_code in {200, 302}
