"""A result that is a file: conditions, ranges, and redirects to its storage."""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.test import AsyncRequestFactory, RequestFactory
from django.utils import timezone
from pytest_django import Settings
from rest_framework.renderers import BaseRenderer
from rest_framework.test import APIClient

from async_reply import services
from async_reply.models import Operation, OperationFile
from async_reply.testing import run_operations
from async_reply.views import downloads
from async_reply.views.results import ResultView
from tests.project import tasks

pytestmark = pytest.mark.django_db

CONTENT = b"a;b\n1;2\n"
TAG = f'"{hashlib.sha256(CONTENT).hexdigest()}"'


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    storage = FileSystemStorage(location=tmp_path)
    monkeypatch.setattr(OperationFile._meta.get_field("file"), "storage", storage)
    return tmp_path


@pytest.fixture
def result(submit: Callable[..., Operation]) -> str:
    """The result URL of an operation whose result is CONTENT."""
    operation = submit(tasks.export)
    run_operations()
    return f"/api/operations/{operation.pk}/result/"


def test_get__whole_file(api: APIClient, result: str) -> None:
    response = api.get(result)
    assert (response.status_code, response.getvalue()) == (200, CONTENT)
    assert response["ETag"] == TAG
    assert response["Accept-Ranges"] == "bytes"
    assert response["Content-Length"] == "8"
    assert response["Cache-Control"] == "private, no-store"
    assert "Expires" in response


def test_head__describes_the_whole_file_without_opening_it(
    api: APIClient, result: str, folder: Path
) -> None:
    get = api.get(result)
    get.getvalue()
    for path in folder.rglob("*.csv"):
        path.unlink()
    head = api.head(result, headers={"Range": "bytes=0-1"})
    assert (head.status_code, head.content) == (200, b"")
    fields = {name: value for name, value in get.items() if name != "Date"}
    assert dict(head.items()) == fields


@pytest.mark.parametrize(
    ("field", "content", "content_range"),
    [
        ("bytes=0-0", b"a", "bytes 0-0/8"),
        ("bytes=2-4", b"b\n1", "bytes 2-4/8"),
        ("bytes=4-", b"1;2\n", "bytes 4-7/8"),
        ("bytes=-3", b";2\n", "bytes 5-7/8"),
        ("bytes=0-", CONTENT, "bytes 0-7/8"),
        ("bytes=5-999", b";2\n", "bytes 5-7/8"),
    ],
)
def test_range__gets_a_part(
    api: APIClient, result: str, field: str, content: bytes, content_range: str
) -> None:
    response = api.get(result, headers={"Range": field})
    assert (response.status_code, response.getvalue()) == (206, content)
    assert response["Content-Range"] == content_range
    assert response["Content-Length"] == str(len(content))
    assert (response["ETag"], response["Content-Type"]) == (TAG, "text/csv")
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Disposition"].startswith("attachment")


@pytest.mark.parametrize("field", ["bytes=0-1,4-5", "bytes=5-2", "rows=1-2", "nonsense", ""])
def test_range__of_several_parts_or_invalid_gets_the_whole_file(
    api: APIClient, result: str, field: str
) -> None:
    response = api.get(result, headers={"Range": field})
    assert (response.status_code, response.getvalue()) == (200, CONTENT)
    assert "Content-Range" not in response


@pytest.mark.parametrize("field", ["bytes=8-", "bytes=100-200", "bytes=-0"])
def test_range__beyond_the_end_is_416(api: APIClient, result: str, field: str) -> None:
    response = api.get(result, headers={"Range": field})
    assert (response.status_code, response["Content-Range"]) == (416, "bytes */8")
    assert response["Content-Type"] == "application/problem+json"
    assert "Content-Disposition" not in response


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        (TAG, 206),
        ('"other"', 200),
        (f"W/{TAG}", 200),
        ("Tue, 24 Nov 2026 12:00:00 GMT", 200),
    ],
)
def test_if_range__of_another_file_gets_the_whole_file(
    api: APIClient, result: str, condition: str, status: int
) -> None:
    response = api.get(result, headers={"Range": "bytes=0-1", "If-Range": condition})
    assert (response.status_code, response.getvalue()[:2]) == (status, b"a;")


@pytest.mark.parametrize("method", ["get", "head"])
@pytest.mark.parametrize("field", [TAG, f"W/{TAG}", f'"x", {TAG}', "*"])
def test_if_none_match__is_304(api: APIClient, result: str, field: str, method: str) -> None:
    request = getattr(api, method)
    response = request(result, headers={"If-None-Match": field, "Range": "bytes=99-"})
    assert (response.status_code, response.content) == (304, b"")
    assert (response["ETag"], response["Cache-Control"]) == (TAG, "private, no-store")
    # RFC 9110, section 8.6: no length, or that of the file.
    assert response["Content-Length"] == "8"


def test_if_none_match__of_another_file_gets_the_file(api: APIClient, result: str) -> None:
    response = api.get(result, headers={"If-None-Match": '"x"'})
    assert (response.status_code, response.getvalue()) == (200, CONTENT)


def test_if_match__of_another_file_is_412(api: APIClient, result: str) -> None:
    matching = api.get(result, headers={"If-Match": TAG, "Range": "bytes=0-1"})
    assert (matching.status_code, matching.getvalue()) == (206, b"a;")
    response = api.get(result, headers={"If-Match": '"x"', "Range": "bytes=0-1"})
    assert response.status_code == 412
    assert response["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("field", [None, "bytes=2-4"])
def test_gzip__compresses_no_part(
    api: APIClient, result: str, settings: Settings, field: str | None
) -> None:
    settings.MIDDLEWARE = ["django.middleware.gzip.GZipMiddleware", *settings.MIDDLEWARE]
    fields = {"Accept-Encoding": "gzip"} | ({"Range": field} if field else {})
    response = api.get(result, headers=fields)
    assert response.has_header("Content-Encoding") is (field is None)
    assert response["ETag"] == (TAG if field else f"W/{TAG}")
    assert (response.getvalue() == CONTENT[2:5]) is (field is not None)


@pytest.mark.django_db(transaction=True)
def test_get__operation_deleted_after_its_row_was_read_is_404(
    api: APIClient, result: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Another request of the caller deleted it. This is no failure of the storage."""
    serve = downloads.serve

    def serve_late(*arguments: Any) -> Any:
        services.delete(Operation.objects.get())
        return serve(*arguments)

    monkeypatch.setattr(downloads, "serve", serve_late)
    assert api.get(result).status_code == 404
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_file__missing_in_its_storage_is_503_and_logged(
    api: APIClient, result: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for path in folder.rglob("*.csv"):
        path.unlink()
    response = api.get(result)
    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assert response.json()["type"].endswith("/storage-unavailable")
    assert str(folder) not in response.content.decode()
    assert "FileNotFoundError" in caplog.text


LARGE = bytes(range(256)) * 1024


def stored(content: bytes) -> OperationFile:
    row = OperationFile(
        operation=Operation.objects.create(),
        role=OperationFile.Role.RESULT,
        name="x.bin",
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    row.file.save("x.bin", ContentFile(content), save=False)
    row.file.close()
    return row


@pytest.fixture
def serve() -> Iterator[Callable[..., Any]]:
    """Serve a row to a request with this Range. The fixture closes the files at the end."""
    responses: list[Any] = []

    def make(field: str, row: OperationFile, factory: Any = RequestFactory) -> Any:
        responses.append(downloads.serve(factory().get("/", headers={"Range": field}), row))
        return responses[-1]

    yield make
    # response.close() would make Django close the test's connection too.
    for closer in [closer for response in responses for closer in response._resource_closers]:
        closer()


@pytest.mark.parametrize("field", ["", "bytes=70000-140000"])
@pytest.mark.parametrize("factory", [RequestFactory, AsyncRequestFactory])
def test_serve__closes_the_file_with_the_response(
    monkeypatch: pytest.MonkeyPatch,
    serve: Callable[..., Any],
    folder: Path,
    field: str,
    factory: type[Any],
) -> None:
    opened: list[Any] = []

    class Watched(FileSystemStorage):
        def open(self, name: str, mode: str = "rb") -> Any:
            opened.append(super().open(name, mode))
            return opened[-1]

    row = stored(LARGE)
    monkeypatch.setattr(row.file, "storage", Watched(location=folder))
    response = serve(field, row, factory)
    assert [file.closed for file in opened] == [False]
    for closer in response._resource_closers:
        closer()
    assert [file.closed for file in opened] == [True]


@pytest.mark.parametrize(("field", "whole"), [("", True), ("bytes=0-", True), ("bytes=1-", False)])
def test_serve__whole_file_can_be_sent_by_the_kernel(
    serve: Callable[..., Any], field: str, whole: bool
) -> None:
    response = serve(field, stored(LARGE))
    assert hasattr(response.file_to_stream, "fileno") is whole
    assert response.block_size == 64 * 1024


@pytest.mark.parametrize(
    ("field", "part"), [("", slice(None)), ("bytes=70000-200000", slice(70000, 200001))]
)
def test_serve__asgi_reads_block_by_block(
    serve: Callable[..., Any], field: str, part: slice
) -> None:
    response = serve(field, stored(LARGE), AsyncRequestFactory)

    async def read() -> list[bytes]:
        return [block async for block in response]

    blocks = asyncio.run(read())
    assert b"".join(blocks) == LARGE[part]
    assert max(map(len, blocks)) <= 64 * 1024
    assert len(blocks) > 1


@pytest.mark.parametrize(("field", "status"), [("", 200), ("bytes=-5", 200), ("bytes=0-", 416)])
def test_serve__empty_file(serve: Callable[..., Any], field: str, status: int) -> None:
    response = serve(field, stored(b""))
    assert response.status_code == status
    if status == 200:
        assert (b"".join(response), response["Content-Length"]) == (b"", "0")


SIGNED: list[dict[str, Any]] = []


def sign(row: OperationFile, **options: Any) -> str:
    """The function of a project for SIGNED_URL."""
    SIGNED.append(options)
    return f"https://files.example.org/{row.file.name}?signature=1"


@pytest.mark.parametrize("method", ["get", "head"])
def test_signed_url__is_valid_until_the_operation_expires(
    api: APIClient, result: str, settings: Settings, method: str
) -> None:
    settings.ASYNC_REPLY = {"SIGNED_URL": f"{__name__}.sign"}
    Operation.objects.update(expires_at=timezone.now() + timedelta(seconds=90))
    SIGNED.clear()
    response = getattr(api, method)(result, headers={"Range": "bytes=0-1"})
    assert response.status_code == 302
    assert response["Location"].startswith("https://files.example.org/async_reply/")
    assert response["Cache-Control"] == "private, no-store"
    assert SIGNED[0]["method"] == method.upper()
    assert 60 < SIGNED[0]["seconds"] <= 90


def test_signed_url__of_a_storage_that_does_not_sign_is_refused(
    api: APIClient, result: str, settings: Settings
) -> None:
    settings.ASYNC_REPLY = {"SIGNED_URL": "async_reply.contrib.s3.signed_url"}
    pytest.importorskip("storages.backends.s3", reason="needs the extra s3")
    with pytest.raises(ImproperlyConfigured, match="FileSystemStorage does not sign"):
        api.get(result)


class CsvRenderer(BaseRenderer):
    media_type = "text/csv"
    format = "csv"
    charset = "utf-8"

    def render(self, data: Any, *_args: Any, **_kwargs: Any) -> bytes:
        return "".join(f"{key},{value}\n" for key, value in data.items()).encode()


@pytest.mark.parametrize(
    ("accept", "content_type", "content"),
    [
        ("text/csv", "text/csv; charset=utf-8", b"number,7\n"),
        ("application/json", "application/json", b'{"number":7}'),
        ("image/png", "application/json", b'{"number":7}'),
    ],
)
def test_value__is_rendered_by_the_project_s_renderers(
    api: APIClient,
    succeeded: Operation,
    monkeypatch: pytest.MonkeyPatch,
    accept: str,
    content_type: str,
    content: bytes,
) -> None:
    monkeypatch.setattr(ResultView, "renderer_classes", [*ResultView.renderer_classes, CsvRenderer])
    response = api.get(f"/api/operations/{succeeded.pk}/result/", headers={"Accept": accept})
    assert (response["Content-Type"], response.content) == (content_type, content)


@pytest.mark.parametrize(("status", "content"), [(201, b'{"number":7}'), (204, b"")])
def test_value__has_the_status_of_its_view(
    api: APIClient, succeeded: Operation, status: int, content: bytes
) -> None:
    Operation.objects.update(reply={"status": status})
    response = api.get(f"/api/operations/{succeeded.pk}/result/")
    assert (response.status_code, response.content) == (status, content)
