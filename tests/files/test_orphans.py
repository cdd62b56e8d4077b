import io
import os
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage, InMemoryStorage, Storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from async_reply import services
from async_reply.attempts import rescue, results, runner
from async_reply.database.identifiers import uuid7
from async_reply.files import orphans, store
from async_reply.models import Operation, OperationFile
from async_reply.services import retention
from async_reply.status import FINAL, UNFINISHED, Status
from async_reply.testing import run_operations
from tests.project.tasks import echo, export

pytestmark = pytest.mark.django_db

#: Over all folders, of tests that run past midnight too.
LATER = datetime.now(UTC).date() + timedelta(days=4)


@pytest.fixture(autouse=True, params=[FileSystemStorage, InMemoryStorage])
def storage(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Storage:
    """A storage with folders, and one that is another's."""
    made: Storage = request.param(location=str(tmp_path))
    monkeypatch.setattr(OperationFile._meta.get_field("file"), "storage", made)
    return made


def put(operation: Operation, *, attempt: int = 1) -> str:
    """Bytes in the storage, without a row; their path."""
    role = OperationFile.Role.RESULT
    row = store.save(operation, io.BytesIO(b"1"), role=role, name="x", attempt=attempt)
    return str(row.file.name)


def sweep(today: date = LATER) -> list[str]:
    return list(orphans.delete_orphans(today))


def finished(*, attempt: int = 1) -> Operation:
    """With a file in its input and one as its result."""
    operation = services.submit(export, input={"a": SimpleUploadedFile("a", b"a")})
    Operation.objects.filter(pk=operation.pk).update(attempt=attempt - 1)
    run_operations()
    operation.refresh_from_db()
    assert (operation.status, operation.attempt) == (Status.SUCCEEDED, attempt)
    return operation


def paths() -> set[str]:
    return set(OperationFile.objects.values_list("file", flat=True))


def test_sweep__what_no_submit_ever_stored_a_row_for(storage: Storage) -> None:
    orphan = put(Operation(pk=uuid7()), attempt=0)
    sweep()
    assert not storage.exists(orphan)


@pytest.mark.parametrize(("days", "kept"), [(0, True), (1, True), (2, False), (30, False)])
def test_sweep__leaves_the_last_two_days_alone(storage: Storage, days: int, kept: bool) -> None:
    operation = Operation(pk=uuid7())
    orphan = put(operation)
    submitted = datetime.fromtimestamp((operation.pk.int >> 80) / 1000, UTC)
    sweep(submitted.date() + timedelta(days=days))
    assert storage.exists(orphan) is kept


@pytest.mark.parametrize("attempt", [0, 1, 2, 3])
@pytest.mark.parametrize("status", sorted(UNFINISHED))
def test_sweep__never_takes_from_what_is_not_over(
    storage: Storage, status: Status, attempt: int
) -> None:
    operation = services.submit(echo)
    Operation.objects.update(status=status, attempt=2)
    stored = put(operation, attempt=attempt)
    sweep()
    assert storage.exists(stored)


@pytest.mark.parametrize("status", sorted(FINAL))
def test_sweep__leftovers_of_what_is_over(storage: Storage, status: Status) -> None:
    operation = finished(attempt=2)
    Operation.objects.update(status=status)
    unclaimed = [put(operation, attempt=attempt) for attempt in (1, 2, 3)]
    kept = paths()
    sweep()
    assert [storage.exists(path) for path in unclaimed] == [False] * 3
    assert len(kept) == 2
    assert all(storage.exists(path) for path in kept)


def test_sweep__what_purge_could_not_remove(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = finished()
    beside = put(operation)  # a second file that the job did not return
    left = paths()
    sweep()
    assert storage.exists(beside)
    retention.purge_content(operation, only_expired=False)
    assert all(storage.exists(path) for path in left)  # the removal waits for a COMMIT
    sweep()
    assert [storage.exists(path) for path in (*left, beside)] == [False] * 3


def test_sweep__leaves_what_is_not_ours(storage: Storage) -> None:
    others = [
        storage.save(path, io.BytesIO(b"1"))
        for path in (
            "async_reply/readme.txt",
            "async_reply/20200101/readme.txt",
            "async_reply/20200101/someone/1/x",
            "async_reply/2020/x",
            f"elsewhere/20200101/{uuid7()}/1/x",
        )
    ]
    sweep()
    assert all(storage.exists(path) for path in others)


def test_sweep__removes_empty_folders(storage: Storage) -> None:
    if not isinstance(storage, FileSystemStorage):
        pytest.skip("only file systems have folders")
    operation = finished()
    root = Path(storage.location) / "async_reply"
    retention.purge_content(operation, only_expired=False)
    sweep()
    assert len(list(root.iterdir())) == 1
    sweep()
    assert list(root.iterdir()) == []


def test_sweep__keeps_the_folder_of_a_day_that_may_still_be_written_to(storage: Storage) -> None:
    if not isinstance(storage, FileSystemStorage):
        pytest.skip("only file systems have folders")
    services.submit(echo)
    put(Operation(pk=uuid7()))
    for _ in range(3):
        sweep()
    assert len(list((Path(storage.location) / "async_reply").iterdir())) == 1


def test_sweep__of_nothing(storage: Storage) -> None:
    assert sweep() == []


def test_sweep__storage_that_cannot_list(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(storage), "listdir", Storage.listdir)
    assert sweep() == []


def test_sweeper__is_bounded_per_turn_and_goes_on(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setattr(orphans, "SECONDS_PER_TURN", 0)
    monkeypatch.setattr(orphans, "MIN_AGE", timedelta(0))
    settings.ASYNC_REPLY = {"BATCH": 2}
    unclaimed = [put(Operation(pk=uuid7())) for _ in range(5)]
    sweeper = orphans.OrphanDeleter()
    turns = 0
    while sweeper.turn() == 2:
        turns += 1
        assert turns < 20
    assert turns >= 5
    assert [storage.exists(path) for path in unclaimed] == [False] * 5


def test_sweeper__begins_anew_after_an_error(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "MIN_AGE", timedelta(0))
    orphan = put(Operation(pk=uuid7()))
    sweeper = orphans.OrphanDeleter()
    with monkeypatch.context() as outage:

        def refuse(_: Any, path: str) -> Any:
            raise ConnectionError

        outage.setattr(type(storage), "listdir", refuse)
        with pytest.raises(ConnectionError):
            sweeper.turn()
    assert sweeper.turn() == 0
    assert not storage.exists(orphan)


def test_sweep__file_that_the_storage_keeps_ends_no_walk(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    days = ("20250101", "20250102")
    kept, other = [
        storage.save(f"async_reply/{day}/{uuid7()}/1/x", io.BytesIO(b"1")) for day in days
    ]
    delete = type(storage).delete

    def refuse(self: Storage, name: str) -> None:
        if name == kept:
            raise PermissionError("kept by an object lock")
        delete(self, name)

    monkeypatch.setattr(type(storage), "delete", refuse)
    assert orphans.OrphanDeleter().turn() == 0
    assert (storage.exists(kept), storage.exists(other)) == (True, False)
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == 1
    assert kept in told[0]


@pytest.mark.parametrize("name", ["20250230", "19000101", "00010101", "2025 1 1", "²0250101"])
def test_sweep__folder_that_is_called_by_no_day(storage: Storage, name: str) -> None:
    if not isinstance(storage, FileSystemStorage):
        pytest.skip("only file systems have folders")
    folder = Path(storage.location) / "async_reply" / name
    folder.mkdir(parents=True)
    orphan = put(Operation(pk=uuid7()))
    sweep()
    assert folder.exists()
    assert not storage.exists(orphan)


def in_a_child(function: Callable[[], object]) -> int:
    """Run a function in a child process that has this one's database; its exit status."""
    pid = os.fork()
    if pid == 0:
        # Kept, not closed: that would end the parent's connection as well.
        _parents, connection.connection = connection.connection, None
        try:
            function()
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.django_db(transaction=True)
def test_sweep__after_a_process_died_between_file_and_row(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not isinstance(storage, FileSystemStorage):
        pytest.skip("another process's memory is gone with it")
    operation = services.submit(export)

    def attempt_and_die() -> None:
        monkeypatch.setattr(results, "store", lambda *_: os._exit(9))
        runner.run(operation.pk, export.kind, worker="w1", inline=True)

    assert in_a_child(attempt_and_die) == 9
    root = Path(storage.location)
    [orphan] = [path for path in root.rglob("*") if path.is_file()]
    Operation.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    sweep()
    assert orphan.exists()  # nobody knows yet that it died
    assert rescue.rescue() == 1
    sweep()
    assert orphan.exists()  # it is to run again
    assert len(run_operations()) == 1
    operation.refresh_from_db()
    assert (operation.status, operation.attempt) == (Status.SUCCEEDED, 2)
    sweep()
    assert not orphan.exists()
    [kept] = [path for path in root.rglob("*") if path.is_file()]
    assert kept.read_bytes() == b"a;b\n1;2\n"
