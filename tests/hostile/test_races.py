"""Many requests at once, each with its own connection, on the database that the suite uses."""

import itertools
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from django.contrib.auth.models import AbstractBaseUser, Group
from django.core.files.storage import FileSystemStorage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connections
from django.utils import timezone
from pytest_django import Settings
from rest_framework import serializers
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient
from rest_framework.validators import UniqueValidator

from async_reply import services
from async_reply.models import Operation, OperationFile
from async_reply.services import retention
from async_reply.testing import run_operations
from tests.project import tasks, views

pytestmark = pytest.mark.django_db(transaction=True)

CONNECTIONS = 8
IDENTICAL = 50
OVER_QUOTA = 200
QUOTA = 20
ROUNDS = 20


class NameSerializer(serializers.Serializer[Any]):
    """Accepts a name once: the first submit takes it."""

    name = serializers.CharField(validators=[UniqueValidator(Group.objects.all())])


def take(view: Any, operation: Operation) -> None:
    Group.objects.create(name=operation.input["name"])


@pytest.fixture
def unique(monkeypatch: pytest.MonkeyPatch) -> None:
    """The submit view takes a name, which must be new, in the operation's transaction."""
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


FIELDS = ["Idempotency-Key", "Repeatability-Request-ID"]


@pytest.fixture(params=FIELDS)
def field(request: pytest.FixtureRequest) -> str:
    """The name of the header that carries the key."""
    name: str = request.param
    return name


@pytest.fixture
def post(user: AbstractBaseUser, field: str) -> Callable[..., Any]:
    """Sends the same request by the same caller."""
    authorization = f"Token {Token.objects.create(user=user)}"  # type: ignore[misc]

    def send(_number: int = 0, *, key: str = "k", body: Any = None) -> Any:
        client = APIClient(raise_request_exception=False)
        headers = {"Authorization": authorization, **({field: key} if key else {})}
        return client.post("/echoes/", body or {"name": "x"}, headers=headers)

    return send


def statuses(answers: list[Any]) -> Counter[int]:
    return Counter(answer.status_code for answer in answers)


def assert_receipts(answers: list[Any], *, replays: int) -> None:
    """All answers are the same 202 of the only operation."""
    assert statuses(answers) == {202: len(answers)}
    assert len({answer.content for answer in answers}) == 1
    assert len({answer["Location"] for answer in answers}) == 1
    assert {answer["Operation-Id"] for answer in answers} == {str(Operation.objects.get().pk)}
    assert sum("Idempotent-Replayed" in answer for answer in answers) == replays


def assert_one(answers: list[Any]) -> None:
    """All answers are the same 202 of the only operation, and all but one are replays."""
    assert_receipts(answers, replays=len(answers) - 1)


def test_key__identical_submits_at_once_make_one_operation(
    post: Callable[..., Any], broker: list[str]
) -> None:
    assert_one(at_once(IDENTICAL, post))
    assert broker == [str(Operation.objects.get().pk)]
    assert len(run_operations()) == 1


def test_key__at_once_under_a_quota_of_one(post: Callable[..., Any], settings: Settings) -> None:
    """The first request has used up the quota when the second one comes."""
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "MAX_UNFINISHED": 1}
    assert_one(at_once(IDENTICAL, post))


def test_key__at_once_with_a_unique_validator(post: Callable[..., Any], unique: None) -> None:
    """The first request has taken the name when the second one comes."""
    assert_one(at_once(IDENTICAL, post))
    assert Group.objects.count() == 1


def test_key__at_once_with_uploads_keeps_one_of_them(
    user: AbstractBaseUser, field: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    storage = FileSystemStorage(location=tmp_path)
    monkeypatch.setattr(OperationFile._meta.get_field("file"), "storage", storage)
    headers = {"Authorization": f"Token {Token.objects.create(user=user)}", field: "k"}  # type: ignore[misc]

    def send(_number: int) -> Any:
        client = APIClient(raise_request_exception=False)
        body = {"title": "t", "files": [SimpleUploadedFile("a.txt", b"a")]}
        return client.post("/files/", body, format="multipart", headers=headers)

    assert_one(at_once(IDENTICAL, send))
    assert [path.name for path in tmp_path.rglob("*.txt")] == [
        PurePosixPath(OperationFile.objects.get().file.name).name
    ]
    assert len(run_operations()) == 1
    assert Operation.objects.get().result.value == {"title": "t", "contents": ["a"]}


def delete(operation: Operation) -> None:
    run_operations()
    operation.refresh_from_db()
    services.delete(operation)


def expire(operation: Operation) -> None:
    run_operations()
    past = timezone.now() - timedelta(seconds=1)
    Operation.objects.update(expires_at=past, purge_at=past)


def purge(operation: Operation) -> None:
    expire(operation)
    assert retention.purge() == 1


def test_key__at_once_after_success(post: Callable[..., Any]) -> None:
    first = post()
    run_operations()
    answers = at_once(IDENTICAL, post)
    assert_receipts(answers, replays=IDENTICAL)
    assert {answer.content for answer in answers} == {first.content}


@pytest.mark.parametrize("end", [delete, expire, purge], ids=lambda end: end.__name__)
def test_key__at_once_after_the_operation_is_gone(post: Callable[..., Any], end: Any) -> None:
    post()
    end(Operation.objects.get())
    assert statuses(at_once(IDENTICAL, post)) == {410: IDENTICAL}
    assert Operation.objects.count() == 1


def test_key__at_once_with_the_purge_of_its_tombstone(post: Callable[..., Any]) -> None:
    """Each request gets 410, or, after the purge, the one new operation."""
    new_operations = 0
    for key in map(str, range(ROUNDS)):
        post(key=key)
        delete(Operation.objects.get())
        old = str(Operation.objects.get().pk)
        Operation.objects.update(purge_at=timezone.now() - timedelta(seconds=1))

        def ask(number: int, key: str = key) -> Any:
            # In the middle of the first requests.
            return retention.purge() if number == CONNECTIONS // 2 else post(key=key)

        answers = at_once(CONNECTIONS * 2, ask)
        assert answers.pop(CONNECTIONS // 2) == 1
        assert set(statuses(answers)) <= {202, 410}
        accepted = [answer for answer in answers if answer.status_code == 202]
        if accepted:
            assert_one(accepted)
            assert accepted[0]["Operation-Id"] != old
            new_operations += 1
        Operation.objects.all().delete()
    assert new_operations


def test_key__at_once_with_its_delete_and_the_purge(post: Callable[..., Any]) -> None:
    """A purge leaves the new tombstone alone: its time has not come."""
    post()
    run_operations()
    operation = Operation.objects.get()

    def ask(number: int) -> Any:
        if number % 4 == 1:
            return services.delete(operation)
        return retention.purge() if number % 4 == 3 else post()

    answers = [answer for answer in at_once(IDENTICAL, ask) if hasattr(answer, "status_code")]
    assert set(statuses(answers)) <= {202, 410}
    assert post().status_code == 410
    assert Operation.objects.get() == operation


def test_key__at_once_over_the_quota(post: Callable[..., Any], settings: Settings) -> None:
    """A new key does not help. The key of an accepted submit gets its 202 again."""
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "MAX_UNFINISHED": 1}
    post(key="first")
    answers = at_once(IDENTICAL, post)
    assert statuses(answers) == {429: IDENTICAL}
    assert all(int(answer["Retry-After"]) >= 1 for answer in answers)
    assert_receipts(at_once(IDENTICAL, lambda _: post(key="first")), replays=IDENTICAL)


def test_key__at_once_after_submits_that_were_rolled_back(
    post: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that waits for the insert of another one is accepted if that is rolled back."""
    numbers = itertools.count(1)

    def refuse(view: Any, operation: Operation) -> None:
        if next(numbers) <= CONNECTIONS:
            raise serializers.ValidationError({"name": ["Not now."]})

    monkeypatch.setattr(views.EchoView, "perform_submit", refuse)
    answers = at_once(IDENTICAL, post)
    assert set(statuses(answers)) == {202, 400}
    assert statuses(answers)[400] <= CONNECTIONS
    assert_one([answer for answer in answers if answer.status_code == 202])


def test_key__at_once_with_different_bodies(post: Callable[..., Any]) -> None:
    answers = at_once(CONNECTIONS * 2, lambda number: post(body={"number": number}))
    assert statuses(answers) == {202: 1, 422: len(answers) - 1}
    assert Operation.objects.count() == 1


@pytest.mark.parametrize("field", FIELDS[:1], indirect=True)
def test_quota__is_not_exceeded_by_many_at_once(
    post: Callable[..., Any], settings: Settings
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "MAX_UNFINISHED": QUOTA}
    answers = at_once(OVER_QUOTA, lambda _: post(key=""))
    assert statuses(answers) == {202: QUOTA, 429: OVER_QUOTA - QUOTA}
    assert Operation.objects.count() == QUOTA
    refused = [answer for answer in answers if answer.status_code == 429]
    assert all(int(answer["Retry-After"]) >= 1 for answer in refused)
    assert {answer["Content-Type"] for answer in refused} == {"application/problem+json"}
    services.cancel(Operation.objects.all()[0])
    assert statuses(at_once(CONNECTIONS, lambda _: post(key=""))) == {202: 1, 429: CONNECTIONS - 1}


def test_delete_and_replay__at_once_never_run_again(post: Callable[..., Any]) -> None:
    """A replay gets the 202 again, or 410 after the delete."""
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


@pytest.mark.parametrize(
    "task", [tasks.export, tasks.echo, tasks.refuse], ids=lambda task: task.name
)
def test_delete__at_once_with_all_other_requests(user: AbstractBaseUser, task: Any) -> None:
    """Each request is answered as before the delete or as after it."""
    Token.objects.create(user=user)  # type: ignore[misc]
    for _round in range(ROUNDS // 4):
        operation = services.submit(task, owner=str(user.pk))
        run_operations()
        url = f"/api/operations/{operation.pk}/"
        requests = [("GET", f"{url}result/"), ("GET", url), ("GET", f"{url}monitor/")]
        requests += [("DELETE", url), ("POST", f"{url}cancel/"), ("GET", "/api/operations/")]
        requests += [("GET", f"{url}events/"), ("HEAD", f"{url}result/")]

        def ask(number: int, requests: list[tuple[str, str]] = requests) -> int:
            client = APIClient(raise_request_exception=False)
            method, target = requests[number % len(requests)]
            response = client.generic(method, target, headers={"Authorization": _authorization()})
            b"".join(response) if response.streaming else response.content
            response.close()
            status: int = response.status_code
            return status

        counts = Counter(at_once(len(requests) * 3, ask))
        assert set(counts) <= {200, 204, 302, 404, 409, 422}
        assert counts[204] >= 1
        assert set(at_once(2, ask)) == {404}


def _authorization() -> str:
    return f"Token {Token.objects.get()}"
