from collections.abc import Callable

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from async_reply import services
from async_reply.exceptions import (
    NotFinished,
    OperationGone,
    StorageFailed,
    UnknownKind,
)
from async_reply.models import Operation, OperationFile
from async_reply.services.idempotency import IdempotencyKey
from async_reply.testing import run_operations
from tests.project import tasks

pytestmark = pytest.mark.django_db


@pytest.fixture
def finish() -> Callable[[], Operation]:
    def make() -> Operation:
        operation = services.submit(tasks.echo)
        run_operations()
        operation.refresh_from_db()
        return operation

    return make


def test_rerun__copies_the_files() -> None:
    upload = SimpleUploadedFile("a.txt", b"first", "text/plain")
    operation = services.submit(tasks.read, input={"title": "t", "files": [upload]}, owner="7")
    run_operations()
    operation.refresh_from_db()
    again = services.rerun(operation)
    assert (again.rerun_of, again.owner) == (operation, "7")
    paths = {row.file.name for row in OperationFile.objects.all()}
    assert len(paths) == 2
    services.delete(operation)
    run_operations()
    again.refresh_from_db()
    assert again.result.value == {"title": "t", "contents": ["first"]}


def test_rerun__missing_file_leaves_no_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    uploads = [SimpleUploadedFile(name, b"x") for name in ("a.txt", "b.txt")]
    operation = services.submit(tasks.read, input={"title": "t", "files": uploads})
    run_operations()
    operation.refresh_from_db()
    last = OperationFile.objects.order_by("pk")[1].file
    last.storage.delete(last.name)
    deleted: list[str] = []
    monkeypatch.setattr(last.storage, "delete", deleted.append)
    with pytest.raises(StorageFailed):
        services.rerun(operation)
    assert [name.rpartition("-")[2] for name in deleted] == ["a.txt"]
    assert Operation.objects.count() == 1


def test_rerun__unfinished_is_refused() -> None:
    with pytest.raises(NotFinished):
        services.rerun(services.submit(tasks.echo))


def test_rerun__deleted_is_refused(finish: Callable[[], Operation]) -> None:
    operation = finish()
    services.delete(operation)
    operation.refresh_from_db()
    with pytest.raises(OperationGone, match="submit the request again") as raised:
        services.rerun(operation)
    assert "key" not in str(raised.value)


def test_rerun__unknown_kind_is_refused(finish: Callable[[], Operation]) -> None:
    operation = finish()
    operation.kind = "gone.task"
    with pytest.raises(UnknownKind):
        services.rerun(operation)


def test_rerun__with_a_key_that_is_taken_returns_its_operation_and_leaves_no_copies() -> None:
    upload = SimpleUploadedFile("a.txt", b"first", "text/plain")
    operation = services.submit(tasks.read, input={"title": "t", "files": [upload]})
    run_operations()
    operation.refresh_from_db()
    key = IdempotencyKey(digest="a" * 64, fingerprint="b" * 64)
    first, second = (services.rerun(operation, key=key) for _ in range(2))
    assert (first, first.rerun_of) == (second, operation)
    assert OperationFile.objects.count() == 2
