"""A submit whose row is committed is answered 202, whatever becomes of the database."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from rest_framework.test import APIClient

from async_reply import backlogs, histories
from async_reply.models import Operation
from async_reply.testing import run_operations
from tests.project.views import EchoView
from tests.waiting import in_thread, until_parked

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ticker")]


class Outage:
    """A database that is gone for the thread that asks it through this, once it `began`."""

    began = False

    def __call__(self, execute: Callable[..., Any], *statement: Any) -> Any:
        if self.began:
            raise OperationalError("server closed the connection unexpectedly")
        return execute(*statement)

    def begin(self) -> None:
        self.began = True


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> Outage:
    monkeypatch.setattr(histories, "REFRESH", 0)
    monkeypatch.setattr(backlogs, "REFRESH", 0)
    return Outage()


@pytest.mark.parametrize("fields", [{}, {"Prefer": "wait=1"}])
def test_submit__whose_database_goes_away_after_the_commit(
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
def test_submit__whose_database_goes_away_during_the_wait(
    api: APIClient, outage: Outage, finishes: bool
) -> None:
    def ask() -> Any:
        seconds = 50 if finishes else 1
        with connection.execute_wrapper(outage):
            return api.post("/echoes/", {}, headers={"Prefer": f"wait={seconds}"})

    with in_thread(ask) as asked:
        until_parked()
        outage.begin()
        if finishes:
            run_operations()
        answer = asked.result()
    assert (answer.status_code, answer["Location"]) == (202, answer.json()["links"]["self"])
    assert int(answer["Retry-After"]) >= 1


def test_poll__may_be_told_to_come_back(
    api: APIClient, outage: Outage, submit: Callable[..., Operation]
) -> None:
    operation = submit()
    outage.begin()
    with connection.execute_wrapper(outage):
        answer = api.get(f"/api/operations/{operation.pk}/")
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
