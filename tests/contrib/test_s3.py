"""Against a server that speaks S3: moto's, as a process of its own."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import ImproperlyConfigured
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient

from async_reply.files import orphans
from async_reply.models import Operation, OperationFile
from async_reply.services import retention
from async_reply.status import Status
from async_reply.testing import run_operations
from demo_project.processes import free_port, listens

pytest.importorskip("moto.server", reason="needs the extra dev: moto[server]")
s3 = pytest.importorskip("storages.backends.s3", reason="needs the extra s3")
signatures = pytest.importorskip("async_reply.contrib.s3")

CREDENTIALS = {"access_key": "key", "secret_key": "secret", "region_name": "us-east-1"}


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an S3 server."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    log = tmp_path_factory.mktemp("moto") / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            give_up = time.monotonic() + 60
            while not listens(port):
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < give_up, log.read_text()
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


@pytest.fixture(autouse=True)
def storage(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """django-storages with its defaults, but for its memory."""
    made = s3.S3Storage(
        bucket_name="operations", endpoint_url=endpoint, max_memory_size=1024, **CREDENTIALS
    )
    made.connection.create_bucket(Bucket="operations")
    monkeypatch.setattr(OperationFile._meta.get_field("file"), "storage", made)
    yield made
    made.bucket.objects.all().delete()
    made.bucket.delete()
    made.connection.meta.client.close()


@pytest.fixture(autouse=True)
def signed(settings: Settings) -> None:
    settings.ASYNC_REPLY = {"SIGNED_URL": "async_reply.contrib.s3.signed_url"}


@pytest.fixture
def api(user: AbstractBaseUser, client_of: Callable[..., APIClient]) -> APIClient:
    return client_of(user)


def keys(storage: Any) -> list[str]:
    return sorted(found.key for found in storage.bucket.objects.all())


@pytest.fixture
def result(api: APIClient) -> str:
    """The URL of what was made of two uploads of one name."""
    uploads = [SimpleUploadedFile("a.csv", content) for content in (b"a\n" * 2000, b"b\n")]
    accepted = api.post("/uppers/", {"title": "Übung 1.csv", "files": uploads}, format="multipart")
    assert accepted.status_code == 202
    run_operations()
    url: str = accepted.json()["links"]["result"]
    return url


CONTENT = b"A\n" * 2000 + b"B\n"


@pytest.mark.django_db
def test_result__is_downloaded_by_whoever_holds_the_signed_url(
    api: APIClient, result: str, endpoint: str
) -> None:
    response = api.get(result)
    url = response["Location"]
    assert response.status_code == 302
    assert url.startswith(f"{endpoint}/operations/async_reply/")
    assert "Signature=" in url
    with httpx.Client() as client:
        whole = client.get(url)
        part = client.get(url, headers={"Range": "bytes=3999-4001"})
        rest = client.get(url, headers={"Range": "bytes=-2"})
        beyond = client.get(url, headers={"Range": "bytes=5000-"})
    assert (whole.status_code, whole.content) == (200, CONTENT)
    assert whole.headers["Content-Type"] == "text/csv"
    assert whole.headers["Content-Disposition"] == "attachment; filename*=utf-8''%C3%9Cbung_1.csv"
    assert (part.status_code, part.content) == (206, b"\nB\n")
    assert part.headers["Content-Range"] == "bytes 3999-4001/4002"
    assert (rest.status_code, rest.content) == (206, b"B\n")
    assert beyond.status_code == 416


@pytest.mark.django_db
def test_result__head_is_signed_as_such(api: APIClient, result: str) -> None:
    response = api.head(result)
    assert response.status_code == 302
    with httpx.Client() as client:
        told = client.head(response["Location"])
    assert (told.status_code, told.headers["Content-Length"]) == (200, str(len(CONTENT)))
    assert response["Location"] != api.get(result)["Location"]


@pytest.mark.parametrize(("left", "longest"), [(90, 90), (30 * 24 * 3600, 3600)])
@pytest.mark.django_db
def test_result__signature_ends_with_the_operation_or_before(
    api: APIClient, result: str, left: int, longest: int
) -> None:
    Operation.objects.update(expires_at=timezone.now() + timedelta(seconds=left))
    assert longest - 30 < seconds(api.get(result)["Location"]) <= longest


def seconds(url: str) -> float:
    """For how long a signed URL holds: by either version of the signature."""
    query = {key: values[0] for key, values in parse_qs(urlsplit(url).query).items()}
    if "X-Amz-Expires" in query:
        return int(query["X-Amz-Expires"])
    return int(query["Expires"]) - time.time()


@pytest.mark.django_db
def test_result__streamed_where_no_setting_says_otherwise(
    api: APIClient, result: str, settings: Settings
) -> None:
    settings.ASYNC_REPLY = {}
    assert api.get(result).getvalue() == CONTENT
    part = api.get(result, headers={"Range": "bytes=3999-4001"})
    assert (part.status_code, part.getvalue()) == (206, b"\nB\n")


@pytest.mark.django_db(transaction=True)
def test_purge__deletes_the_objects(storage: Any, result: str) -> None:
    assert len(keys(storage)) == 3
    with transaction.atomic():
        Operation.objects.update(purge_at=timezone.now() - timedelta(seconds=1))
    assert retention.purge() == 1
    assert keys(storage) == []


@pytest.mark.django_db
def test_sweep__removes_objects_that_no_row_speaks_of(storage: Any, result: str) -> None:
    kept = keys(storage)
    day, operation = kept[0].split("/")[1:3]
    unclaimed = [
        storage.save(f"async_reply/{folder}/1/x", SimpleUploadedFile("x", b"1"))
        for folder in (f"{day}/{operation}", f"{day}/0192aaaa-0000-7000-8000-000000000000")
    ]
    Operation.objects.update(attempt=2)
    assert len(keys(storage)) == len(kept) + len(unclaimed)
    for _ in orphans.delete_orphans(datetime.now(UTC).date() + timedelta(days=3)):
        pass
    assert keys(storage) == kept


@pytest.mark.django_db
def test_submit__bucket_that_is_gone_is_503(storage: Any, api: APIClient) -> None:
    storage.bucket.delete()
    uploads = [SimpleUploadedFile("a.csv", b"a")]
    response = api.post("/uppers/", {"title": "Übung 1.csv", "files": uploads}, format="multipart")
    storage.connection.create_bucket(Bucket="operations")
    assert response.status_code == 503
    assert not Operation.objects.exists()


@pytest.mark.django_db
def test_job__bucket_that_is_gone_fails_readably(storage: Any, api: APIClient) -> None:
    uploads = [SimpleUploadedFile("a.csv", b"a")]
    api.post("/uppers/", {"title": "Übung 1.csv", "files": uploads}, format="multipart")
    storage.bucket.objects.all().delete()
    run_operations()
    operation = Operation.objects.get()
    assert (operation.status, operation.error["code"]) == (Status.FAILED, "storage-failed")


@pytest.mark.parametrize(
    "options",
    [
        {"querystring_auth": False},
        {"custom_domain": "cdn.example.org"},
    ],
)
def test_signed_url__never_an_unsigned_one(options: dict[str, Any], storage: Any) -> None:
    row = OperationFile(name="x", file="async_reply/x")
    row.file.storage = s3.S3Storage(bucket_name="operations", **CREDENTIALS, **options)
    with pytest.raises(ImproperlyConfigured, match="does not sign"):
        signatures.signed_url(row, seconds=60, method="GET")


def test_signed_url__through_a_distribution() -> None:
    class Signer:
        def generate_presigned_url(self, url: str, date_less_than: datetime) -> str:
            return f"{url}&Signature=1&Expires={date_less_than.timestamp():.0f}"

    row = OperationFile(name="x.csv", content_type="text/csv", file="async_reply/x")
    row.file.storage = s3.S3Storage(
        custom_domain="cdn.example.org", cloudfront_signer=Signer(), **CREDENTIALS
    )
    url = urlsplit(signatures.signed_url(row, seconds=60, method="GET"))
    assert (url.netloc, url.path) == ("cdn.example.org", "/async_reply/x")
    query = parse_qs(url.query)
    assert query["response-content-type"] == ["text/csv"]
    assert query["response-content-disposition"] == ['attachment; filename="x.csv"']
