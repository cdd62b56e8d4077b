"""Submits over HTTP: the 202, refusals, uploads, hooks and idempotency keys."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import AbstractBaseUser
from django.core.files.storage import FileSystemStorage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError
from pytest_django import DjangoAssertNumQueries, Settings
from rest_framework.test import APIClient

from async_reply import services
from async_reply.database import inserts
from async_reply.exceptions import PayloadTooLarge
from async_reply.models import Operation, OperationFile
from async_reply.services.idempotency import IdempotencyKey
from async_reply.testing import run_operations
from async_reply.views.submissions import Submission
from tests.project.views import DressedView, NoTaskView

pytestmark = pytest.mark.django_db

Deferred = Callable[..., Any]


def test_post__answers_202_with_links_and_retry_after(api: APIClient) -> None:
    response = api.post("/echoes/", {"number": 7})
    operation = Operation.objects.get()
    base = f"http://testserver/api/operations/{operation.pk}/"
    assert response.status_code == 202
    assert response["Location"] == base
    assert response["Operation-Location"] == f"{base}monitor/"
    assert response["Operation-Id"] == str(operation.pk)
    assert response["Retry-After"] == "1"
    assert response["Cache-Control"] == "private, no-store"
    assert response["Vary"] == "Accept, Authorization, Cookie, Prefer"
    assert response.json() == {
        "id": str(operation.pk),
        "kind": "tests.project.echo",
        "status": "pending",
        "created_at": operation.created_at.isoformat().replace("+00:00", "Z"),
        "links": {
            "self": base,
            "monitor": f"{base}monitor/",
            "result": f"{base}result/",
            "events": f"{base}events/",
            "log": f"{base}log/",
            "cancel": f"{base}cancel/",
        },
    }


def test_post__stores_input_owner_and_view(api: APIClient, user: AbstractBaseUser) -> None:
    api.post("/echoes/", {"day": "2026-11-23", "price": "9.50", "user": "ada"})
    operation = Operation.objects.get()
    assert operation.input == {"day": "2026-11-23", "price": "9.50", "user": user.pk}
    assert operation.owner == str(user.pk)
    assert operation.view == "tests.project.views.EchoView"


def test_post__publishes_after_the_commit(
    api: APIClient, broker: list[str], django_capture_on_commit_callbacks: Deferred
) -> None:
    with django_capture_on_commit_callbacks() as callbacks:
        response = api.post("/echoes/", {})
    assert broker == []
    for callback in callbacks:
        callback()
    assert broker == [response.json()["id"]]


@pytest.mark.usefixtures("_estimates_stay_cached")
def test_post__stores_with_one_insert(
    api: APIClient, settings: Settings, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    settings.ASYNC_REPLY = {"MAX_UNFINISHED": 1000}
    api.post("/echoes/", {"number": 6})
    # Savepoint, quota, insert, release. Inside the test's transaction atomic() is a savepoint.
    with django_assert_num_queries(4):
        api.post("/echoes/", {"number": 7})


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_estimates_stay_cached")
@pytest.mark.parametrize(("bound", "count"), [(0, 1), (1000, 2)])
def test_post__has_no_transaction_around_one_row(
    api: APIClient,
    settings: Settings,
    django_assert_num_queries: DjangoAssertNumQueries,
    bound: int,
    count: int,
) -> None:
    settings.ASYNC_REPLY = {"MAX_UNFINISHED": bound}
    api.post("/echoes/", {"number": 6})
    with django_assert_num_queries(count):
        api.post("/echoes/", {"number": 7})


def test_post__url_kwargs_are_input(api: APIClient) -> None:
    api.post("/echoes/9/", {})
    assert Operation.objects.get().input == {"number": 9}


def test_post__list_becomes_items(api: APIClient) -> None:
    api.post("/many/", [{"number": 1}, {"number": 2}])
    assert Operation.objects.get().input == {"items": [{"number": 1}, {"number": 2}]}


def test_post__hooks(api: APIClient) -> None:
    response = api.post(
        "/dressed/", {"number": 1}, headers={"Idempotency-Key": "k", "User-Agent": "ada/1"}
    )
    operation = Operation.objects.get()
    links = response.json()["links"]
    assert response["Location"] == links["result"]
    assert response["Azure-AsyncOperation"] == response["Operation-Location"] == links["monitor"]
    assert response["X-Kind"] == "tests.project.echo"
    assert operation.extra == {"agent": "ada/1"}
    assert operation.retention == 3600
    run_operations()
    redirect = api.get(links["self"])
    assert (redirect.status_code, redirect["Location"]) == (303, links["result"])
    assert api.get(links["result"]).status_code == 201


def test_post__perform_submit_can_refuse(api: APIClient) -> None:
    response = api.post("/dressed/", {"number": 13}, headers={"Idempotency-Key": "k"})
    assert (response.status_code, response.json()["errors"]) == (400, {"number": ["Not thirteen."]})
    assert not Operation.objects.exists()


def test_post__view_without_task(user: AbstractBaseUser, rf: Any) -> None:
    request = rf.post("/", {}, content_type="application/json")
    request.user = user
    request._dont_enforce_csrf_checks = True
    request._force_auth_user = user
    with pytest.raises(Exception, match=r"NoTaskView\.task"):
        NoTaskView.as_view()(request)


def test_post__prefer_respond_async_is_applied(api: APIClient) -> None:
    response = api.post("/echoes/", {}, headers={"Prefer": "respond-async"})
    assert response["Preference-Applied"] == "respond-async"


def test_submit__from_a_viewset_action(api: APIClient) -> None:
    response = api.post("/things/3/rebuild/")
    operation = Operation.objects.get()
    assert (response.status_code, operation.input) == (202, {"number": 3})
    assert operation.view == "tests.project.views.ThingViewSet"


def test_post__permissions_of_the_view(api: APIClient) -> None:
    response = api.post("/staff/", {})
    assert (response.status_code, response["Content-Type"]) == (403, "application/problem+json")
    assert not Operation.objects.exists()


def test_post__uploads_reach_the_job(api: APIClient) -> None:
    uploads = [SimpleUploadedFile("a.txt", b"first"), SimpleUploadedFile("../b.txt", b"second")]
    response = api.post("/files/", {"title": "two", "files": uploads}, format="multipart")
    assert response.status_code == 202
    rows = OperationFile.objects.order_by("field")
    assert [(row.field, row.name, row.size) for row in rows] == [
        ("files.0", "a.txt", 5),
        ("files.1", "b.txt", 6),
    ]
    run_operations()
    result = api.get(response.json()["links"]["result"]).json()
    assert result == {"title": "two", "contents": ["first", "second"]}


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        ('{"number": "seven"}', "application/json", 400),
        ('{"number":', "application/json", 400),
        (b'{"anything": "\xff\xfe"}', "application/json", 400),
        ('{"anything": NaN}', "application/json", 400),
        ('{"anything": "\\ud800"}', "application/json", 400),
        ('{"anything": "\\u0000"}', "application/json", 400),
        ('{"anything":' + "[" * 100_000 + "]" * 100_000 + "}", "application/json", 400),
        ('{"anything": 1}', "text/csv", 415),
        ('[{"number": 1}]', "application/json", 400),
        ('{"anything": "' + "x" * 1_100_000 + '"}', "application/json", 413),
        ('{"anything": "' + "x" * 2_700_000 + '"}', "application/json", 413),
    ],
)
def test_post__invalid_body_is_a_problem_and_stores_nothing(
    api: APIClient, body: Any, content_type: str, status: int
) -> None:
    response = api.post("/echoes/", data=body, content_type=content_type)
    assert (response.status_code, response["Content-Type"]) == (status, "application/problem+json")
    problem = response.json()
    assert problem["status"] == status
    assert problem["detail"]
    assert not Operation.objects.exists()


def test_post__names_invalid_fields(api: APIClient) -> None:
    problem = api.post("/echoes/", {"number": "seven"}).json()
    assert problem == {
        "type": "about:blank",
        "title": "Bad Request",
        "status": 400,
        "detail": "The request is not valid: see errors.",
        "errors": {"number": ["A valid integer is required."]},
    }


def test_post__anonymous_caller_is_401(client_of: Callable[..., APIClient]) -> None:
    response = client_of().post("/echoes/", {})
    assert (response.status_code, response["Content-Type"]) == (401, "application/problem+json")
    assert response["WWW-Authenticate"] == "Token"


def test_post__without_a_database_is_503_with_retry_after(
    api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OperationalError("connection refused to db.internal:5432")

    monkeypatch.setattr(inserts, "insert", refuse)
    response = api.post("/echoes/", {})
    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assert "db.internal" not in response.content.decode()


def test_post__client_that_leaves_is_logged_as_no_error(
    api: APIClient, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise ConnectionResetError("by peer")

    environ: dict[str, Any] = {"wsgi.input": Broken(), "CONTENT_LENGTH": 13}
    response = api.post("/echoes/", content_type="application/json", **environ)
    assert (response.status_code, response["Content-Type"]) == (400, "application/problem+json")
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_post__files_of_a_failed_submit_are_deleted(
    api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleted: list[str] = []
    storage = OperationFile._meta.get_field("file").storage
    monkeypatch.setattr(storage, "delete", lambda name: deleted.append(name))

    def refuse(*_: Any, **__: Any) -> None:
        raise OperationalError

    monkeypatch.setattr(inserts, "insert", refuse)
    upload = SimpleUploadedFile("a.txt", b"first")
    api.post("/files/", {"title": "one", "files": [upload]}, format="multipart")
    assert [name.rpartition("-")[2] for name in deleted] == ["a.txt"]


def test_post__failing_storage_is_503_and_stores_nothing(
    api: APIClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    storage = FileSystemStorage(location=tmp_path)
    monkeypatch.setattr(OperationFile._meta.get_field("file"), "storage", storage)
    (tmp_path / "async_reply").touch()  # the storage needs a folder of this name
    upload = SimpleUploadedFile("a.txt", b"first")
    response = api.post("/files/", {"title": "one", "files": [upload]}, format="multipart")
    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assert response.json()["type"].endswith("/storage-unavailable")
    assert str(tmp_path) not in response.content.decode()
    assert not Operation.objects.exists()


def test_post__quota(api: APIClient, settings: Settings) -> None:
    settings.ASYNC_REPLY = {"MAX_UNFINISHED": 2}
    assert [api.post("/echoes/", {}).status_code for _ in range(3)] == [202, 202, 429]
    refused = api.post("/echoes/", {})
    assert int(refused["Retry-After"]) >= 1
    assert refused.json()["type"].endswith("/quota-exceeded")
    run_operations()
    assert api.post("/echoes/", {}).status_code == 202


def test_key__replay_gets_the_same_receipt_in_every_status(api: APIClient) -> None:
    first = api.post("/echoes/", {"number": 7}, headers={"Idempotency-Key": '"k-1"'})
    run_operations()
    again = api.post("/echoes/", {"number": 7}, headers={"Idempotency-Key": "k-1"})
    assert (again.status_code, again.json()) == (202, first.json())
    assert again["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first
    assert Operation.objects.count() == 1


def test_key__replay_needs_neither_validation_nor_quota(
    api: APIClient, user: AbstractBaseUser, settings: Settings
) -> None:
    settings.ASYNC_REPLY = {"MAX_UNFINISHED": 1}
    body, key = {"user": "ada"}, {"Idempotency-Key": "k"}
    api.post("/echoes/", body, headers=key)
    user.username = "ada.lovelace"  # type: ignore[attr-defined]
    user.save()
    assert api.post("/echoes/", body, headers=key).status_code == 202


def test_key__other_input_is_422(api: APIClient) -> None:
    api.post("/echoes/", {"number": 7}, headers={"Idempotency-Key": "k"})
    response = api.post("/echoes/", {"number": 8}, headers={"Idempotency-Key": "k"})
    assert response.status_code == 422
    assert response.json()["type"].endswith("/idempotency-key-reused")


def test_key__same_files_are_the_same_request(api: APIClient) -> None:
    def post(content: bytes) -> int:
        upload = SimpleUploadedFile("a.txt", content)
        body = {"title": "one", "files": [upload]}
        headers = {"Idempotency-Key": "k"}
        response = api.post("/files/", body, format="multipart", headers=headers)
        return response.status_code

    assert [post(b"first"), post(b"first"), post(b"other")] == [202, 202, 422]


def test_key__belongs_to_caller_and_view(
    api: APIClient, stranger: AbstractBaseUser, client_of: Callable[..., APIClient]
) -> None:
    key = {"Idempotency-Key": "k"}
    answers = [
        api.post("/echoes/", {}, headers=key),
        client_of(stranger).post("/echoes/", {}, headers=key),
        api.post("/exports/", {}, headers=key),
    ]
    assert len({answer.json()["id"] for answer in answers}) == 3


@pytest.mark.parametrize("key", ["", "é", "x" * 256, '""', '"half'])
def test_key__malformed(api: APIClient, key: str) -> None:
    response = api.post("/echoes/", {}, headers={"Idempotency-Key": key})
    assert response.status_code == 400
    assert not Operation.objects.exists()


def test_key__required_by_the_view(api: APIClient) -> None:
    response = api.post("/dressed/", {"number": 1})
    assert response.status_code == 400
    assert "Idempotency-Key" in response.json()["detail"]


def test_key__in_the_header_of_azure(api: APIClient) -> None:
    response = api.post("/echoes/", {}, headers={"Repeatability-Request-ID": "k"})
    assert response["Repeatability-Result"] == "accepted"
    again = api.post("/echoes/", {}, headers={"Repeatability-Request-ID": "k"})
    assert again.json() == response.json()


def test_key__replay_of_a_deleted_operation_is_410(api: APIClient) -> None:
    key = {"Idempotency-Key": "k"}
    first = api.post("/echoes/", {}, headers=key)
    run_operations()
    assert api.delete(first["Location"]).status_code == 204
    again = api.post("/echoes/", {}, headers=key)
    assert again.status_code == 410
    assert Operation.objects.count() == 1


def test_key__two_requests_at_once_are_one_operation(
    api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = {"Idempotency-Key": "k"}
    first = api.post("/echoes/", {}, headers=key)
    # The second request looked up its key before the first request inserted its row.
    monkeypatch.setattr(Submission, "_earlier", lambda self: None)
    again = api.post("/echoes/", {}, headers=key)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert again["Idempotent-Replayed"] == "true"
    assert Operation.objects.count() == 1


@pytest.mark.parametrize("body", [{"user": "ada"}, {"number": 13}, {"number": 7}])
def test_key__refused_because_of_the_earlier_request_gets_the_receipt(
    api: APIClient,
    user: Any,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    body: dict[str, Any],
) -> None:
    """Refused by the serializer, by `perform_submit` or by the quota."""
    refuse, find = DressedView.perform_submit, IdempotencyKey.find
    monkeypatch.setattr(DressedView, "perform_submit", lambda self, operation: None)
    key = {"Idempotency-Key": "k"}
    first = api.post("/dressed/", body, headers=key)
    monkeypatch.setattr(DressedView, "perform_submit", refuse)
    settings.ASYNC_REPLY = {"MAX_UNFINISHED": 0 if body == {"number": 13} else 1}
    user.username = "ada.lovelace"
    user.save()
    # The second request first looked up its key before the first request inserted its row.
    lookups = iter([lambda key: None, find])
    monkeypatch.setattr(IdempotencyKey, "find", lambda self: next(lookups)(self))
    again = api.post("/dressed/", body, headers=key)
    assert (again.status_code, again.json()) == (202, first.json())
    assert again["Idempotent-Replayed"] == "true"


def test_key__tombstone_purged_during_the_submit_gets_a_new_operation(
    api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, find = {"Idempotency-Key": "k"}, IdempotencyKey.find
    first = api.post("/echoes/", {}, headers=key)

    def find_after_purge(self: IdempotencyKey) -> Operation | None:
        Operation.objects.all().delete()
        return find(self)

    # The insert conflicts with the tombstone, and the look-up after it finds none.
    lookups = iter([lambda key: None, find_after_purge])
    monkeypatch.setattr(IdempotencyKey, "find", lambda self: next(lookups)(self))
    again = api.post("/echoes/", {}, headers=key)
    assert again.status_code == 202
    assert "Idempotent-Replayed" not in again
    assert Operation.objects.get().pk != UUID(first.json()["id"])


def test_key__of_an_anonymous_caller_is_400(
    client_of: Callable[..., APIClient], settings: Settings
) -> None:
    settings.ASYNC_REPLY = {"ACCESS": "tests.project.access.OpenAccess"}
    response = client_of().post("/echoes/", {}, headers={"Idempotency-Key": "k"})
    assert response.status_code == 400


def test_post__anonymous_caller_is_401_even_with_allow_any(
    client_of: Callable[..., APIClient], settings: Settings
) -> None:
    settings.ASYNC_REPLY = {"ACCESS": "tests.project.access.OpenAccess"}
    assert client_of().post("/echoes/", {}).status_code == 401
    assert not Operation.objects.exists()


def test_input__is_limited_in_bytes() -> None:
    from tests.project.tasks import echo

    with pytest.raises(PayloadTooLarge):
        services.submit(echo, input={"text": "é" * 600_000})
