import hashlib
import io
import logging
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage
from django.core.files.uploadedfile import SimpleUploadedFile
from pytest_django import Settings

from async_reply import services
from async_reply.exceptions import PayloadError, StorageFailed
from async_reply.files import inputs, store, streams
from async_reply.models import Operation, OperationFile
from tests.project.tasks import echo


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the files of these tests go."""
    storage = FileSystemStorage(location=tmp_path)
    monkeypatch.setattr(OperationFile._meta.get_field("file"), "storage", storage)
    return tmp_path


def upload(name: str = "x.txt", content: bytes = b"x") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("report 1.csv", "report_1.csv"),
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\x.txt", "x.txt"),
        ("..", "file"),
        (".htaccess", "htaccess"),
        ("...", "file"),
        ("", "file"),
        ("/", "file"),
        ("!!!", "file"),
        ("?.", "file"),
        ("a\x00b.txt", "ab.txt"),
        ("\ud800.txt", "txt"),
        ("\ud800", "file"),
        ("Übung.csv", "Übung.csv"),
        ("日本語.txt", "日本語.txt"),
        ('a"b\r\n;.txt', "ab.txt"),
        ("  spaces  ", "spaces"),
    ],
)
def test_safe_name(name: str, expected: str) -> None:
    assert store.safe_name(name) == expected


@pytest.mark.parametrize("name", ["x" * 300 + ".csv", "語" * 300 + ".csv", "." * 300 + "csv"])
def test_safe_name__long_ones_keep_their_end(name: str) -> None:
    made = store.safe_name(name)
    assert made.endswith("csv")
    assert len(made.encode()) <= store.MAX_NAME_BYTES


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        ({"a": upload()}, ["a"]),
        ({"a": [1, upload(), {"b": upload()}]}, ["a.1", "a.2.b"]),
        ({"a": (upload(),)}, ["a.0"]),
        ({"files": {"a.b": upload(), "a": {"b": upload()}}}, ["files.a~1b", "files.a.b"]),
        ({"~1": upload(), "~": upload()}, ["~01", "~0"]),
        ({"a": {"0": upload()}}, ["a.0"]),
        ({"a": 1, "b": [None]}, []),
    ],
)
def test_take__is_undone_by_put_back(value: dict[str, Any], paths: list[str]) -> None:
    plain, uploads = inputs.take(value)
    assert list(uploads) == paths
    assert "SimpleUploadedFile" not in repr(plain)
    _again, found = inputs.take(inputs.put_back(plain, uploads.items()))
    assert found == uploads


def test_take__leaves_the_callers_value_alone() -> None:
    value = {"a": [upload()]}
    plain, _uploads = inputs.take(value)
    assert plain == {"a": ["x.txt"]}
    assert not isinstance(value["a"][0], str)


def test_take__path_must_fit_its_column() -> None:
    assert inputs.take({"k" * 255: upload()})[1]
    with pytest.raises(PayloadError, match="255"):
        inputs.take({"k" * 256: upload()})


def test_digest__rewinds_before_and_after() -> None:
    content = b"x" * (streams.CHUNK_BYTES + 1)
    stream = io.BytesIO(content)
    stream.read(10)
    assert streams.digest(stream) == (len(content), hashlib.sha256(content).hexdigest())
    assert stream.tell() == 0


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A disk that is full after so many bytes of a file: real errors of the real system."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_spool__full_disk_is_told_apart_from_what_the_job_raises() -> None:
    def lines() -> Iterator[bytes]:
        yield b"x" * 10_000
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        streams.spool(lines())
    with largest_file(4096), pytest.raises(StorageFailed) as told:
        streams.spool(lines())
    assert isinstance(told.value.__cause__, OSError)


def test_spool__leaves_nothing_behind(settings: Settings, tmp_path: Path) -> None:
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
    with largest_file(4096), pytest.raises(StorageFailed):
        streams.spool([b"x" * 10_000])
    with streams.spool([b"x" * 10_000]) as stream:
        assert (stream.size, len(os.listdir(tmp_path))) == (10_000, 1)
    assert os.listdir(tmp_path) == []


def test_spool__mixes_text_and_bytes() -> None:
    with streams.spool(["é", b"\xff"]) as stream:
        assert stream.read() == b"\xc3\xa9\xff"


@pytest.mark.parametrize(
    ("content", "expected"),
    [(io.BytesIO(), True), (io.StringIO(), False), ([], False), (upload(), True)],
)
def test_is_stream(content: Any, expected: bool) -> None:
    assert streams.is_stream(content) is expected


@pytest.mark.parametrize("name", ["語" * 300 + ".txt", "!!!", "../x", "\ud800"])
@pytest.mark.django_db
def test_store__under_whatever_name(name: str, folder: Path) -> None:
    operation = services.submit(echo)
    role = OperationFile.Role.RESULT
    row = store.save(operation, io.BytesIO(b"1"), role=role, name=name, attempt=3)
    place = folder / str(row.file.name)
    assert place.read_bytes() == b"1"
    assert place.parent.parts[-2:] == (str(operation.pk), "3")
    assert row._state.adding


@pytest.mark.parametrize("content", [b"x" * 10_000, b""])
def test_store__moves_what_lies_on_disk_already(
    folder: Path, settings: Settings, content: bytes
) -> None:
    settings.FILE_UPLOAD_TEMP_DIR = str(folder)
    operation = Operation()
    with streams.spool([content]) as stream:
        node = Path(stream.temporary_file_path()).stat().st_ino
        row = store.save(operation, stream, role=OperationFile.Role.RESULT, name="x")
    place = folder / str(row.file.name)
    assert (place.stat().st_ino, place.read_bytes(), row.size) == (node, content, len(content))
    assert [path for path in folder.rglob("*") if path.is_file()] == [place]


def test_store__full_disk_leaves_no_half_a_file(folder: Path) -> None:
    content = io.BytesIO(b"x" * 1024 * 1024)
    with largest_file(256 * 1024), pytest.raises(StorageFailed) as told:
        store.save(Operation(), content, role=OperationFile.Role.RESULT, name="x")
    assert isinstance(told.value, OSError)  # autoretry_for=(OSError,) covers it
    assert [path for path in folder.rglob("*") if path.is_file()] == []


class Overwriting(FileSystemStorage):
    """As storages of objects do by default."""

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return name

    def _save(self, name: str, content: Any) -> str:
        Path(self.path(name)).unlink(missing_ok=True)
        return super()._save(name, content)  # type: ignore[misc,no-any-return]


@pytest.mark.django_db
def test_store__two_of_one_name_in_a_storage_that_overwrites(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = OperationFile._meta.get_field("file")
    monkeypatch.setattr(field, "storage", Overwriting(location=folder))
    services.submit(echo, input={"files": [upload(content=b"1"), upload(content=b"2")]})
    rows = OperationFile.objects.order_by("field")
    assert [(folder / str(row.file.name)).read_bytes() for row in rows] == [b"1", b"2"]


@pytest.mark.django_db
def test_store__two_of_one_name_are_two(folder: Path) -> None:
    services.submit(echo, input={"files": [upload(content=b"1"), upload(content=b"2")]})
    rows = OperationFile.objects.order_by("field")
    assert [row.field for row in rows] == ["files.0", "files.1"]
    assert [(folder / str(row.file.name)).read_bytes() for row in rows] == [b"1", b"2"]
    store.delete(rows)
    assert [path for path in folder.rglob("*") if path.is_file()] == []


@pytest.mark.django_db
def test_remove__goes_on_when_a_storage_refuses(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    services.submit(echo, input={"a": upload(), "b": upload()})
    first, second = OperationFile.objects.order_by("field")
    (folder / str(first.file.name)).unlink()
    (folder / str(first.file.name)).mkdir()
    (folder / str(first.file.name) / "in the way").touch()
    store.delete([first, second])
    assert not (folder / str(second.file.name)).exists()
    assert [record.levelno for record in caplog.records if "not removed" in record.message] == [
        logging.WARNING
    ]


@pytest.mark.django_db
def test_opened__is_what_came_with_the_request() -> None:
    operation = services.submit(echo, input={"a": upload(content=b"abc")})
    [(path, handle)] = inputs.opened(Operation.objects.get(pk=operation.pk))
    assert (path, handle.read(), handle.size) == ("a", b"abc", 3)
    text = io.TextIOWrapper(handle.file)
    text.seek(0)
    assert text.read() == "abc"
    text.close()
