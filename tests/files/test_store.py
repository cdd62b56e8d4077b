import io
import logging
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage
from pytest_django import Settings

from async_reply import services
from async_reply.exceptions import StorageFailed
from async_reply.files import store, streams
from async_reply.models import Operation, OperationFile
from tests.files.content import largest_file, upload
from tests.project.tasks import echo

pytestmark = pytest.mark.usefixtures("folder")


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
def test_safe_name__long_name_keeps_its_end(name: str) -> None:
    short_name = store.safe_name(name)
    assert short_name.endswith("csv")
    assert len(short_name.encode()) <= store.MAX_NAME_BYTES


@pytest.mark.parametrize("name", ["語" * 300 + ".txt", "!!!", "../x", "\ud800"])
@pytest.mark.django_db
def test_save__takes_any_name(name: str, folder: Path) -> None:
    operation = services.submit(echo)
    role = OperationFile.Role.RESULT
    row = store.save(operation, io.BytesIO(b"1"), role=role, name=name, attempt=3)
    place = folder / str(row.file.name)
    assert place.read_bytes() == b"1"
    assert place.parent.parts[-2:] == (str(operation.pk), "3")
    assert row._state.adding


@pytest.mark.parametrize("content", [b"x" * 10_000, b""])
def test_save__moves_a_file_that_is_on_disk(
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


def test_save__full_disk_leaves_no_partial_file(folder: Path) -> None:
    content = io.BytesIO(b"x" * 1024 * 1024)
    with largest_file(256 * 1024), pytest.raises(StorageFailed) as raised:
        store.save(Operation(), content, role=OperationFile.Role.RESULT, name="x")
    assert isinstance(raised.value, OSError)  # autoretry_for=(OSError,) covers it
    assert [path for path in folder.rglob("*") if path.is_file()] == []


class Overwriting(FileSystemStorage):
    """A storage that overwrites files, as object storages do by default."""

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return name

    def _save(self, name: str, content: Any) -> str:
        Path(self.path(name)).unlink(missing_ok=True)
        return super()._save(name, content)  # type: ignore[misc,no-any-return]


@pytest.mark.django_db
def test_save__two_files_of_one_name_in_a_storage_that_overwrites(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = OperationFile._meta.get_field("file")
    monkeypatch.setattr(field, "storage", Overwriting(location=folder))
    services.submit(echo, input={"files": [upload(content=b"1"), upload(content=b"2")]})
    rows = OperationFile.objects.order_by("field")
    assert [(folder / str(row.file.name)).read_bytes() for row in rows] == [b"1", b"2"]


@pytest.mark.django_db
def test_save__two_files_of_one_name_are_both_stored(folder: Path) -> None:
    services.submit(echo, input={"files": [upload(content=b"1"), upload(content=b"2")]})
    rows = OperationFile.objects.order_by("field")
    assert [row.field for row in rows] == ["files.0", "files.1"]
    assert [(folder / str(row.file.name)).read_bytes() for row in rows] == [b"1", b"2"]
    store.delete(rows)
    assert [path for path in folder.rglob("*") if path.is_file()] == []


@pytest.mark.django_db
def test_delete__goes_on_after_an_error_of_the_storage(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    services.submit(echo, input={"a": upload(), "b": upload()})
    first, second = OperationFile.objects.order_by("field")
    (folder / str(first.file.name)).unlink()
    (folder / str(first.file.name)).mkdir()
    (folder / str(first.file.name) / "in the way").touch()
    store.delete([first, second])
    assert not (folder / str(second.file.name)).exists()
    assert [record.levelno for record in caplog.records if "not deleted" in record.message] == [
        logging.WARNING
    ]
