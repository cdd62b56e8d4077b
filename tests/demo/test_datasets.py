"""Imports of datasets and exports, submitted by HTTP and run inline."""

import io
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from django.contrib.auth.models import AbstractBaseUser
from django.core.files.storage import FileSystemStorage
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from async_reply import lifecycle, services
from async_reply.attempts import claims
from async_reply.models import Operation, OperationFile
from async_reply.status import Status
from async_reply.testing import run_operations
from demo_project import csv_rows, datasets, exports, tasks
from demo_project.models import Dataset, DatasetRow

pytestmark = pytest.mark.django_db

TABLE = b"day,mm\n2026-01-01,1.5\n2026-01-02,\n"


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    storage = FileSystemStorage(location=tmp_path)
    monkeypatch.setattr(OperationFile._meta.get_field("file"), "storage", storage)


@pytest.fixture
def api(user: AbstractBaseUser, client_of: Callable[..., APIClient]) -> APIClient:
    return client_of(user)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_rows, "BATCH_ROWS", 10)


def upload(api: APIClient, content: bytes = TABLE, **fields: str) -> str:
    """Submit a file; return the status URL."""
    file = SimpleUploadedFile("weather.csv", content)
    accepted = api.post("/api/datasets/", {"file": file, **fields}, format="multipart")
    assert accepted.status_code == 202, accepted.content
    return str(accepted["Location"])


def test_import__result_redirects_to_the_dataset(api: APIClient) -> None:
    status = upload(api)
    run_operations()
    result = api.get(api.get(status)["Location"])
    pk = Operation.objects.get().pk
    assert (result.status_code, result["Location"]) == (
        302,
        f"http://testserver/api/datasets/{pk}/",
    )
    dataset = api.get(result["Location"]).json()
    assert dataset.pop("created_at")
    assert dataset == {
        "id": str(pk),
        "name": "weather.csv",
        "rows": 2,
        "columns": ["day", "mm"],
    }
    rows = DatasetRow.objects.order_by("number").values_list("number", "values")
    assert list(rows) == [(1, ["2026-01-01", "1.5"]), (2, ["2026-01-02", ""])]


def test_import__takes_the_name_of_the_request(api: APIClient) -> None:
    upload(api, name="Wetter ☂")
    run_operations()
    assert Dataset.objects.get().name == "Wetter ☂"


def test_import__of_a_header_only_has_no_rows(api: APIClient) -> None:
    upload(api, b"a,b\n")
    run_operations()
    assert Dataset.objects.get().rows == 0


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"a,b\n" + b"1,2\n" * 25 + b"3\n", "Line 27"),
        (b'a\n"open\n', "line 2"),
        (b"a\n\xff\n", "not UTF-8"),
    ],
)
def test_import__of_a_bad_file_gives_the_reason_and_leaves_no_rows(
    api: APIClient, content: bytes, words: str
) -> None:
    status = upload(api, content)
    run_operations()
    result = api.get(api.get(status)["Location"])
    assert (result.status_code, result.json()["code"]) == (422, "csv-invalid")
    assert words in result.json()["detail"]
    assert not Dataset.objects.exists()
    assert not DatasetRow.objects.exists()


@pytest.mark.usefixtures("small_batches")
def test_load__that_starts_again_writes_each_row_once() -> None:
    content = "".join(exports.batches(35)).encode()
    pk = uuid4()
    written: list[int] = []

    def stop_at(rows: int, _bytes: int) -> None:
        written.append(DatasetRow.objects.count())
        if rows == 20:
            raise ConnectionError

    def load(on_batch: Callable[[int, int], None]) -> int:
        return datasets.load(io.BytesIO(content), pk=pk, owner="7", name="x", on_batch=on_batch)

    with pytest.raises(ConnectionError):
        load(stop_at)
    assert written == [10, 20]
    assert Dataset.objects.get().rows is None
    for _ in range(2):
        assert load(lambda *_: None) == 35
    numbers = DatasetRow.objects.order_by("number").values_list("number", flat=True)
    assert list(numbers) == list(range(1, 36))


@pytest.mark.usefixtures("small_batches")
def test_import__that_is_canceled_leaves_no_rows() -> None:
    content = "".join(exports.batches(35)).encode()
    file = SimpleUploadedFile("x.csv", content)
    operation = services.submit(tasks.import_dataset, input={"file": file, "name": "x"}, owner="7")
    beat = lifecycle.beat

    def cancel_at_the_first_beat(*args: object, **options: object) -> bool:
        services.cancel(Operation.objects.get())
        return beat(*args, **options)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lifecycle, "beat", cancel_at_the_first_beat)
        patch.setattr(claims, "INLINE_BEAT_SECONDS", 0)  # read the row at each call
        run_operations()
    operation.refresh_from_db()
    assert operation.status == Status.CANCELED
    assert not Dataset.objects.exists()
    assert not DatasetRow.objects.exists()


def test_dataset__is_shown_to_its_owner_once_it_is_complete(
    api: APIClient, client_of: Callable[..., APIClient], stranger: AbstractBaseUser
) -> None:
    upload(api)
    run_operations()
    url = f"/api/datasets/{Dataset.objects.get().pk}/"
    assert api.get(url).status_code == 200
    assert client_of(stranger).get(url).status_code == 404
    assert client_of().get(url).status_code == 401
    Dataset.objects.update(rows=None)
    assert api.get(url).status_code == 404


def test_export__is_a_csv_file(api: APIClient) -> None:
    accepted = api.post("/api/exports/", {"rows": 2500})
    run_operations()
    response = api.get(accepted.json()["links"]["result"])
    assert response.getvalue().decode() == "".join(exports.batches(2500))
    assert response["Content-Disposition"] == 'attachment; filename="2500-rows.csv"'


@pytest.mark.parametrize("rows", [-1, 100_000_001, "many", None])
def test_export__refuses_a_bad_number_of_rows(api: APIClient, rows: object) -> None:
    response = api.post("/api/exports/", {"rows": rows})
    assert (response.status_code, list(response.json()["errors"])) == (400, ["rows"])
