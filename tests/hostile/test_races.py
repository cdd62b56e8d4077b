"""Many at once, each with a connection of its own, on whatever database the suite runs on."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import AbstractBaseUser, Group
from django.db import connections
from pytest_django import Settings
from rest_framework import serializers
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient
from rest_framework.validators import UniqueValidator

from async_reply.models import Operation
from async_reply.testing import run_operations
from tests.project import views

pytestmark = pytest.mark.django_db(transaction=True)

CONNECTIONS = 8
IDENTICAL = 50
OVER_QUOTA = 200
QUOTA = 20


class NameSerializer(serializers.Serializer[Any]):
    """Valid once: the first submit takes the name."""

    name = serializers.CharField(validators=[UniqueValidator(Group.objects.all())])


def take(view: Any, operation: Operation) -> None:
    Group.objects.create(name=operation.input["name"])


@pytest.fixture
def unique(monkeypatch: pytest.MonkeyPatch) -> None:
    """The submit view takes a name that must be new, in the operation's own transaction."""
    monkeypatch.setattr(views.EchoView, "serializer_class", NameSerializer)
    monkeypatch.setattr(views.EchoView, "perform_submit", take)


def at_once(count: int, ask: Callable[[int], Any]) -> list[Any]:
    """The answers to `count` requests from CONNECTIONS threads."""

    def closing(number: int) -> Any:
        try:
            return ask(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return list(pool.map(closing, range(count)))


@pytest.fixture
def post(user: AbstractBaseUser) -> Callable[..., Any]:
    """POST of the same request by the same caller."""
    authorization = f"Token {Token.objects.create(user=user)}"  # type: ignore[misc]

    def send(number: int = 0, *, key: str = "k", body: Any = None) -> Any:
        client = APIClient(raise_request_exception=False)
        headers = {"Authorization": authorization, **({"Idempotency-Key": key} if key else {})}
        return client.post("/echoes/", body or {"name": "x"}, headers=headers)

    return send


def assert_one(answers: list[Any]) -> None:
    """One operation, the same receipt for all, one of them not a replay."""
    assert Counter(answer.status_code for answer in answers) == {202: len(answers)}
    assert len({answer.content for answer in answers}) == 1
    assert len({answer["Location"] for answer in answers}) == 1
    first = [answer for answer in answers if "Idempotent-Replayed" not in answer]
    assert len(first) == 1
    assert str(Operation.objects.get().pk) == first[0]["Operation-Id"]


def test_key__identical_submits_at_once_are_one_operation(
    post: Callable[..., Any], broker: list[str]
) -> None:
    assert_one(at_once(IDENTICAL, post))
    assert broker == [str(Operation.objects.get().pk)]
    assert len(run_operations()) == 1


def test_key__at_once_under_a_quota_of_one(post: Callable[..., Any], settings: Settings) -> None:
    """Whoever comes second is over the quota by the first one's doing."""
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "MAX_UNFINISHED": 1}
    assert_one(at_once(IDENTICAL, post))


def test_key__at_once_with_a_unique_validator(post: Callable[..., Any], unique: None) -> None:
    """Whoever comes second asks for a name that the first one has taken."""
    assert_one(at_once(IDENTICAL, post))
    assert Group.objects.count() == 1


def test_key__at_once_of_different_bodies(post: Callable[..., Any]) -> None:
    answers = at_once(CONNECTIONS * 2, lambda number: post(body={"number": number}))
    assert Counter(answer.status_code for answer in answers) == {202: 1, 422: len(answers) - 1}
    assert Operation.objects.count() == 1


def test_quota__many_at_once_exceed_it_by_those_under_way_at_most(
    post: Callable[..., Any], settings: Settings
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "MAX_UNFINISHED": QUOTA}
    answers = at_once(OVER_QUOTA, lambda number: post(key=""))
    counts = Counter(answer.status_code for answer in answers)
    assert set(counts) == {202, 429}
    assert QUOTA <= counts[202] == Operation.objects.count() <= QUOTA + CONNECTIONS - 1
    refused = [answer for answer in answers if answer.status_code == 429]
    assert all(int(answer["Retry-After"]) >= 1 for answer in refused)
    assert {answer["Content-Type"] for answer in refused} == {"application/problem+json"}


def test_delete_and_replay__at_once_never_run_again(post: Callable[..., Any]) -> None:
    """A replay gets the receipt or hears that it is gone, and nothing else."""
    accepted = post()
    run_operations()

    def ask(number: int) -> Any:
        if number % 4:
            return post()
        client = APIClient(raise_request_exception=False)
        return client.delete(accepted["Location"], headers={"Authorization": _authorization()})

    counts = Counter(answer.status_code for answer in at_once(CONNECTIONS * 4, ask))
    assert set(counts) <= {202, 410, 204, 404}
    assert counts[204] >= 1
    assert post().status_code == 410
    assert Operation.objects.count() == 1


def _authorization() -> str:
    return f"Token {Token.objects.get()}"
