"""Idempotency keys over HTTP: same and different requests, replays in each state, refusals."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import AbstractBaseUser
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone
from pytest_django import Settings
from rest_framework.authtoken.models import Token
from rest_framework.parsers import BaseParser
from rest_framework.permissions import BasePermission
from rest_framework.test import APIClient
from rest_framework.throttling import BaseThrottle

from async_reply import lifecycle, services
from async_reply.files import streams
from async_reply.models import Operation
from async_reply.services import retention
from async_reply.status import FINAL
from async_reply.testing import run_operations
from async_reply.views.submissions import Submission
from tests.project import tasks
from tests.project.views import EchoView, FilesView, OpenView

pytestmark = pytest.mark.django_db

SPELLINGS = ["Idempotency-Key", "Repeatability-Request-ID"]
#: Headers that a replay repeats exactly. `Retry-After` is computed anew.
REPEATED = ["Location", "Operation-Location", "Operation-Id", "Link", "Vary", "Cache-Control"]
PAST = timedelta(seconds=1)


def start() -> Operation:
    operation: Operation = Operation.objects.get()
    assert lifecycle.claim(operation, worker="w1")
    return operation


def expire() -> None:
    run_operations()
    past = timezone.now() - PAST
    Operation.objects.update(expires_at=past, purge_at=past)


def purge() -> None:
    expire()
    assert retention.purge() == 1


def purge_tombstone() -> None:
    purge()
    Operation.objects.update(purge_at=timezone.now() - PAST)
    assert retention.purge() == 1


def fail() -> None:
    assert lifecycle.fail(start(), {"code": "x", "status": 409})


def delete() -> None:
    run_operations()
    services.delete(Operation.objects.get())


#: The change of the operation before the replay, and the HTTP status of the replay.
STATES: dict[str, tuple[Callable[[], object], int]] = {
    "pending": (lambda: None, 202),
    "running": (start, 202),
    "canceling": (lambda: services.cancel(start()), 202),
    "succeeded": (run_operations, 202),
    "failed": (fail, 202),
    "canceled": (lambda: services.cancel(Operation.objects.get()), 202),
    "deleted": (delete, 410),
    "expired": (expire, 410),
    "purged": (purge, 410),
    "without tombstone": (purge_tombstone, 202),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("state", STATES)
def test_replay__in_each_state(api: APIClient, state: str, spelling: str) -> None:
    change, status = STATES[state]
    key = {spelling: '"k"'}
    first = api.post("/echoes/", {"number": 7}, headers=key)
    change()
    again = api.post("/echoes/", {"number": 7}, headers=key)
    assert again.status_code == status
    if status == 410:
        assert again.json()["type"] == "urn:problem-type:async-reply/operation-expired"
        assert "Retry-After" not in again
        assert not {"Idempotent-Replayed", "Repeatability-Result"} & set(again.headers)
        assert run_operations() == []
        return
    is_new = state == "without tombstone"
    assert (again.json() == first.json()) is not is_new
    assert again.get("Idempotent-Replayed") == (None if is_new else "true")
    accepted = {None} if spelling == "Idempotency-Key" else {"accepted"}
    assert {answer.get("Repeatability-Result") for answer in (first, again)} == accepted
    if not is_new:
        assert [again[name] for name in REPEATED] == [first[name] for name in REPEATED]
        assert set(again.headers) - set(first.headers) == {"Idempotent-Replayed"}
        assert Operation.objects.count() == 1


def test_replay__of_a_finished_operation_has_the_shortest_retry_after(
    api: APIClient, ran: Callable[..., None]
) -> None:
    ran(*[90.0] * 20)
    key = {"Idempotency-Key": "k"}
    first = api.post("/echoes/", {}, headers=key)
    assert int(first["Retry-After"]) > 1
    run_operations()
    again = api.post("/echoes/", {}, headers=key)
    assert (again["Retry-After"], again.json()) == ("1", first.json())


@pytest.mark.django_db(transaction=True)
def test_replay__that_waits_gets_the_reply_and_the_headers_of_a_replay(user: Any) -> None:
    api = APIClient(headers={"Authorization": f"Token {Token.objects.create(user=user)}"})
    fields = {"Repeatability-Request-ID": "k", "Prefer": "wait=9"}
    first = api.post("/echoes/", {"number": 7}, headers=fields)
    assert (first.status_code, first["Repeatability-Result"]) == (202, "accepted")
    run_operations()
    reply = api.post("/echoes/", {"number": 7}, headers=fields)
    assert (reply.status_code, reply.json()) == (200, {"number": 7})
    assert (reply["Idempotent-Replayed"], reply["Repeatability-Result"]) == ("true", "accepted")
    assert reply["Content-Location"] == first.json()["links"]["result"]


def test_replay__purged_before_the_wait_begins_is_410(
    api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"Idempotency-Key": "k", "Prefer": "wait=9"}
    api.post("/echoes/", {}, headers={"Idempotency-Key": "k"})
    accepted = Submission._accepted

    def purge_then_accept(*args: Any, **kwargs: Any) -> Any:
        purge_tombstone()
        return accepted(*args, **kwargs)

    monkeypatch.setattr(Submission, "_accepted", purge_then_accept)
    again = api.post("/echoes/", {}, headers=fields)
    assert again.status_code == 410
    assert again.json()["type"] == "urn:problem-type:async-reply/operation-expired"


def test_alias__counts_if_the_key_is_absent(api: APIClient) -> None:
    key = {"Idempotency-Key": "k"}
    first = api.post("/echoes/", {}, headers={**key, "Repeatability-Request-ID": "other"})
    assert "Repeatability-Result" not in first
    assert api.post("/echoes/", {}, headers=key).json() == first.json()
    alias = api.post("/echoes/", {}, headers={"Repeatability-Request-ID": "k"})
    assert (alias["Idempotent-Replayed"], alias["Repeatability-Result"]) == ("true", "accepted")
    other = api.post("/echoes/", {}, headers={"Repeatability-Request-ID": "other"})
    assert other.json()["id"] != first.json()["id"]


def test_key__is_compared_exactly(api: APIClient) -> None:
    keys = ["k", "K", "k ", "kk", "k.", "\\k", '"\\\\k"', "k" * 255, "k" * 254]
    ids = {
        key: api.post("/echoes/", {}, headers={"Idempotency-Key": key}).json()["id"] for key in keys
    }
    assert ids["\\k"] == ids['"\\\\k"']
    assert len(set(ids.values())) == len(keys) - 1


Request = tuple[str, str]
FIRST: Request = ("/echoes/", '{"number": 7, "anything": {"a": 1, "b": [1]}}')


@pytest.mark.parametrize(
    ("request_", "is_same"),
    [
        (FIRST, True),
        (("/echoes/", '{"anything":{"b":[1],"a":1},"number":7}'), True),
        (("/echoes/?page=2", FIRST[1]), True),
        (("/echoes/7/", FIRST[1]), False),
        (("/echoes/", FIRST[1].replace("7", '"7"')), False),
        (("/echoes/", FIRST[1].replace("7", "7.0")), False),
        (("/echoes/", FIRST[1].replace("[1]", "[1, 1]")), False),
        (("/echoes/", FIRST[1].replace("}}", '}, "unknown": 1}')), False),
        (("/echoes/", FIRST[1].replace("7", '"not valid"')), False),
    ],
)
def test_fingerprint__covers_path_and_body_before_validation(
    api: APIClient, request_: Request, is_same: bool
) -> None:
    def post(path: str, body: str) -> Any:
        fields = {"Idempotency-Key": "k"}
        return api.post(path, body, content_type="application/json", headers=fields)

    first, again = post(*FIRST), post(*request_)
    if is_same:
        assert (again.status_code, again.json()) == (202, first.json())
        return
    assert (again.status_code, again["Content-Type"]) == (422, "application/problem+json")
    assert list(again.json()) == ["type", "title", "status", "detail"]
    assert again.json()["type"] == "urn:problem-type:async-reply/idempotency-key-reused"
    assert "Retry-After" not in again
    assert Operation.objects.count() == 1


def test_fingerprint__covers_the_method(api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EchoView, "put", EchoView.post, raising=False)
    key = {"Idempotency-Key": "k"}
    answers = [api.post("/echoes/", {}, headers=key), api.put("/echoes/", {}, headers=key)]
    assert [answer.status_code for answer in answers] == [202, 422]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("key", ["", '""', "x" * 256, "é", "a\tb", "a\x7fb", '"half', 'a"b"\x01'])
def test_key__malformed_is_400_and_stores_nothing(
    api: APIClient, spelling: str, key: str, broker: list[str]
) -> None:
    response = api.post("/echoes/", {}, headers={spelling: key})
    assert (response.status_code, response["Content-Type"]) == (400, "application/problem+json")
    assert response.json()["type"] == "urn:problem-type:async-reply/idempotency-key-invalid"
    assert "Repeatability-Result" not in response
    assert (Operation.objects.count(), broker) == (0, [])


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_key__of_an_anonymous_caller_is_400(
    client_of: Callable[..., APIClient], spelling: str
) -> None:
    """With one key, the second anonymous caller would get the links of the first."""
    response = client_of().post("/open/", {}, headers={spelling: "k"})
    assert (response.status_code, response["Content-Type"]) == (400, "application/problem+json")
    assert not Operation.objects.exists()
    assert client_of().post("/open/", {}).status_code == 202


def test_key__of_a_named_caller_counts_if_links_are_signed(api: APIClient) -> None:
    first, again = (
        api.post("/open/", {}, headers={"Idempotency-Key": "k"}).json() for _ in range(2)
    )
    assert first["id"] == again["id"]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_key__required_by_the_view_may_have_either_name(api: APIClient, spelling: str) -> None:
    refused = api.post("/dressed/", {})
    assert refused.status_code == 400
    assert refused.json()["type"] == "urn:problem-type:async-reply/idempotency-key-required"
    assert api.post("/dressed/", {}, headers={spelling: "k"}).status_code == 202


class Shut(BasePermission):
    def has_permission(self, *_: Any) -> bool:
        return False


class Full(BaseThrottle):
    def allow_request(self, *_: Any) -> bool:
        return False

    def wait(self) -> float:
        return 0.2


class Plain(BaseParser):
    media_type = "text/plain"

    def parse(self, stream: Any, *_: Any) -> Any:
        return stream.read()


@pytest.mark.parametrize(
    ("attribute", "classes", "content_type", "status"),
    [
        ("permission_classes", [Shut], "application/json", 403),
        ("throttle_classes", [Full], "application/json", 429),
        ("parser_classes", EchoView.parser_classes, "text/plain", 415),
    ],
)
def test_order__permissions_throttles_and_parsers_come_before_the_replay(
    api: APIClient,
    monkeypatch: pytest.MonkeyPatch,
    attribute: str,
    classes: Any,
    content_type: str,
    status: int,
) -> None:
    key = {"Idempotency-Key": "k"}
    assert api.post("/echoes/", {}, headers=key).status_code == 202
    monkeypatch.setattr(EchoView, attribute, classes)
    again = api.post("/echoes/", "{}", content_type=content_type, headers=key)
    assert again.status_code == status
    assert "Idempotent-Replayed" not in again


def test_order__validation_and_quota_come_after_the_replay(
    api: APIClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = {"Idempotency-Key": "k"}
    first = api.post("/echoes/", {}, headers=key)
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "MAX_UNFINISHED": 1}
    monkeypatch.setattr(EchoView, "serializer_class", FilesView.serializer_class)
    assert api.post("/echoes/", {}, headers=key).json() == first.json()
    assert api.post("/echoes/", {}).status_code == 400


def test_fingerprint__works_with_a_parser_that_returns_bytes(
    api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EchoView, "parser_classes", [Plain])
    monkeypatch.setattr(
        EchoView, "post", lambda view, request: view.submit(request, tasks.echo, {})
    )

    def post(body: str) -> int:
        headers = {"Idempotency-Key": "k"}
        answer = api.post("/echoes/", body, content_type="text/plain", headers=headers)
        return answer.status_code

    assert [post("a"), post("a"), post("b")] == [202, 202, 422]


@pytest.mark.parametrize("body", [{"title": "t"}, {}])
def test_fingerprint__reads_an_upload_once(
    api: APIClient, monkeypatch: pytest.MonkeyPatch, body: dict[str, str]
) -> None:
    """Storing the file reads it once more, for the digest in its row."""
    reads: list[int] = []
    digest = streams.digest

    def counted(stream: Any) -> tuple[int, str]:
        reads.append(1)
        return digest(stream)

    monkeypatch.setattr(streams, "digest", counted)

    def post() -> int:
        reads.clear()
        sent = {**body, "files": [SimpleUploadedFile("a.txt", b"first")]}
        key = {"Idempotency-Key": "k"}
        return api.post("/files/", sent, format="multipart", headers=key).status_code

    assert (post(), len(reads)) == ((202, 2) if body else (400, 1))
    assert (post(), len(reads)) == ((202, 1) if body else (400, 1))


def test_states__contain_all_final_ones(user: AbstractBaseUser) -> None:
    assert {status.value for status in FINAL} < set(STATES)
    assert OpenView.location_access == "signed"
