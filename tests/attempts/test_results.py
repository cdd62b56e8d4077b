"""The results of jobs: checked, stored, and deleted."""

import io
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage
from django.db import transaction
from django.urls import NoReverseMatch
from pytest_django import Settings

from async_reply import services
from async_reply.attempts import results
from async_reply.attempts.results import JobResult
from async_reply.exceptions import PayloadError, PayloadTooLarge
from async_reply.files import store
from async_reply.models import Operation, OperationFile, OperationResult
from tests.project.tasks import echo


@pytest.mark.parametrize("value", [None, 0, "", [], {"a": [1.5, None]}])
@pytest.mark.django_db
def test_store__keeps_the_value(value: object) -> None:
    operation = services.submit(echo)
    results.store(operation, results.to_result(value))
    assert OperationResult.objects.get().value == value
    assert results.is_stored(operation)
    operation.attempt += 1
    assert not results.is_stored(operation)


def test_to_result__too_large_names_the_remedy(settings: Settings) -> None:
    settings.ASYNC_REPLY = {"MAX_RESULT": 10}
    assert results.to_result("12345678").value == "12345678"
    with pytest.raises(PayloadTooLarge, match=r"operation\.file"):
        results.to_result("123456789")


def test_location__too_large(settings: Settings) -> None:
    """A location is JSON and has the same limit as a value."""
    settings.ASYNC_REPLY = {"MAX_RESULT": 100, "REDIRECT_HOSTS": ("api",)}
    assert results.created("thing", (7,), {}).location == {
        "route": "thing",
        "args": [7],
        "kwargs": {},
    }
    with pytest.raises(PayloadTooLarge):
        results.created("thing", (), {"name": "x" * 100})
    with pytest.raises(PayloadTooLarge):
        results.redirect("https://api/" + "x" * 100)


@pytest.mark.parametrize(
    "url", ["https://files.example.org/a?b=c#d", "http://files.example.org", "https://api:8443/x"]
)
def test_redirect__to_an_allowed_host(url: str, settings: Settings) -> None:
    settings.ASYNC_REPLY = {"REDIRECT_HOSTS": ("files.example.org", "api:8443")}
    assert results.redirect(url).location == {"url": url}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/a",
        "//files.example.org/a",
        "//evil.example",
        "https:///evil.example",
        "https:evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "https://evil.example",
        "https://files.example.org.evil.example",
        "https://files.example.org@evil.example",
        "https://evil.example\\@files.example.org",
        "https:\\\\evil.example",
        "https://files.example.org:8443/",
        "https://files.example.org/\r\nX-Evil: 1",
        "https://files.example.org/\x00",
        "https://files.example.org/\ud800",
        " https://files.example.org/",
    ],
)
def test_redirect__refuses_any_other_url(url: str, settings: Settings) -> None:
    settings.ASYNC_REPLY = {"REDIRECT_HOSTS": ["files.example.org"]}
    with pytest.raises(ValueError, match="REDIRECT_HOSTS"):
        results.redirect(url)


@pytest.mark.parametrize(
    ("route", "args", "kwargs"),
    [
        ("thing", (), {"number": 7}),
        ("thing", (7,), {}),
        ("async_reply:status", (), {"id": "x"}),
        ("echoes", (), {}),
        # The request may add a namespace and a version.
        ("status", (), {"id": "x"}),
        ("v3:thing", (), {"number": 7}),
    ],
)
def test_created__accepts_a_url_that_exists(
    route: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    expected = {"route": route, "args": list(args), "kwargs": kwargs}
    assert results.created(route, args, kwargs).location == expected


@pytest.mark.parametrize(
    ("route", "args", "kwargs"),
    [
        ("thnig", (), {"number": 7}),
        ("thing", (), {"pk": 7}),
        ("thing", (), {"number": 7, "pk": 7}),
        ("thing", (7, 8), {}),
        ("thing", (7,), {"number": 7}),
        ("", (), {}),
    ],
)
def test_created__refuses_a_url_that_does_not_exist(
    route: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    with pytest.raises(PayloadError) as raised:
        results.created(route, args, kwargs)
    assert isinstance(raised.value.__cause__, NoReverseMatch)


def test_created__accepts_any_url_without_a_urlconf(settings: Settings) -> None:
    settings.ROOT_URLCONF = None
    assert results.created("thnig", (), {}).location == {"route": "thnig", "args": [], "kwargs": {}}


@pytest.fixture
def with_files(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> tuple[Operation, JobResult]:
    storage = FileSystemStorage(location=tmp_path)
    monkeypatch.setattr(OperationFile._meta.get_field("file"), "storage", storage)
    operation = services.submit(echo)
    role = OperationFile.Role.RESULT
    row = store.save(operation, io.BytesIO(b"1"), role=role, name="x")
    return operation, JobResult(file=row, content_type="text/csv", headers={"X": "1"})


def test_store__takes_a_new_number_after_a_rollback(
    with_files: tuple[Operation, JobResult],
) -> None:
    operation, result = with_files
    with transaction.atomic():
        results.store(operation, result)
        transaction.set_rollback(True)
    assert result.file is not None
    role = OperationFile.Role.RESULT
    store.save(operation, io.BytesIO(b"2"), role=role, name="y").save()
    with transaction.atomic():
        row = results.store(operation, result)
    assert (row.content_type, row.headers) == ("text/csv", {"X": "1"})
    assert OperationFile.objects.count() == 2


def test_delete_rows__leaves_the_bytes_to_the_caller(
    with_files: tuple[Operation, JobResult], tmp_path: Path
) -> None:
    operation, result = with_files
    results.store(operation, result)
    [row] = results.delete_rows([operation.pk])
    assert (tmp_path / str(row.file.name)).exists()
    assert not OperationFile.objects.exists()
    assert not OperationResult.objects.exists()
    assert results.delete_rows([operation.pk]) == []
