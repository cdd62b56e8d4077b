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
from async_reply.attempts.results import Outcome
from async_reply.exceptions import PayloadError, PayloadTooLarge
from async_reply.files import store
from async_reply.models import Operation, OperationFile, OperationResult
from tests.project.tasks import echo


@pytest.mark.parametrize("value", [None, 0, "", [], {"a": [1.5, None]}])
@pytest.mark.django_db
def test_store__value_comes_back(value: object) -> None:
    operation = services.submit(echo)
    results.store(operation, results.outcome(value))
    assert OperationResult.objects.get().value == value
    assert results.stored(operation)
    operation.attempt += 1
    assert not results.stored(operation)


def test_outcome__too_large_names_the_remedy(settings: Settings) -> None:
    settings.ASYNC_REPLY = {"MAX_RESULT": 10}
    assert results.outcome("12345678").value == "12345678"
    with pytest.raises(PayloadTooLarge, match=r"operation\.file"):
        results.outcome("123456789")


def test_location__too_large(settings: Settings) -> None:
    """A place is JSON in the same table as a value."""
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
def test_redirect__nowhere_else(url: str, settings: Settings) -> None:
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
        # A request may bring namespace and version along.
        ("status", (), {"id": "x"}),
        ("v3:thing", (), {"number": 7}),
    ],
)
def test_created__where_there_is_such_a_url(
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
def test_created__where_there_is_none(
    route: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    with pytest.raises(PayloadError) as raised:
        results.created(route, args, kwargs)
    assert isinstance(raised.value.__cause__, NoReverseMatch)


def test_created__is_believed_where_nothing_tells_of_urls(settings: Settings) -> None:
    settings.ROOT_URLCONF = None
    assert results.created("thnig", (), {}).location == {"route": "thnig", "args": [], "kwargs": {}}


@pytest.fixture
def with_files(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> tuple[Operation, Outcome]:
    storage = FileSystemStorage(location=tmp_path)
    monkeypatch.setattr(OperationFile._meta.get_field("file"), "storage", storage)
    operation = services.submit(echo)
    role = OperationFile.Role.RESULT
    row = store.save(operation, io.BytesIO(b"1"), role=role, name="x")
    return operation, Outcome(file=row, content_type="text/csv", headers={"X": "1"})


def test_store__rolled_back_and_again_takes_a_new_number(
    with_files: tuple[Operation, Outcome],
) -> None:
    operation, outcome = with_files
    with transaction.atomic():
        results.store(operation, outcome)
        transaction.set_rollback(True)
    assert outcome.file is not None
    role = OperationFile.Role.RESULT
    store.save(operation, io.BytesIO(b"2"), role=role, name="y").save()
    with transaction.atomic():
        stored = results.store(operation, outcome)
    assert (stored.content_type, stored.headers) == ("text/csv", {"X": "1"})
    assert OperationFile.objects.count() == 2


def test_discard__leaves_the_bytes_to_the_caller(
    with_files: tuple[Operation, Outcome], tmp_path: Path
) -> None:
    operation, outcome = with_files
    results.store(operation, outcome)
    [row] = results.discard(operation)
    assert (tmp_path / str(row.file.name)).exists()
    assert not OperationFile.objects.exists()
    assert not OperationResult.objects.exists()
    assert results.discard(operation) == []
