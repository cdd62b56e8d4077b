from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.files.storage import FileSystemStorage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError, transaction
from django.db.models import Model, ProtectedError
from django.db.models.signals import post_delete, pre_delete
from django.utils import timezone
from pytest_django import Settings

from async_reply import services
from async_reply.attempts.jobs import Job
from async_reply.exceptions import NotFinished, OperationFailed, OperationGone
from async_reply.models import Operation, OperationAttempt, OperationFile, OperationResult
from async_reply.services import retention
from async_reply.services.idempotency import IdempotencyKey
from async_reply.status import FINAL, UNFINISHED, Status
from async_reply.testing import run_operations
from tests.hostile.situations import everything
from tests.project.tasks import echo, export

pytestmark = pytest.mark.django_db

KEY = IdempotencyKey(digest="d" * 64, fingerprint="f" * 64)


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    storage = FileSystemStorage(location=tmp_path)
    monkeypatch.setattr(OperationFile._meta.get_field("file"), "storage", storage)
    return tmp_path


def bytes_below(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def finished() -> Operation:
    """An operation with a file in its input and a file as its result."""
    operation = services.submit(export, input={"a": SimpleUploadedFile("a", b"a")})
    run_operations()
    operation.refresh_from_db()
    assert operation.status == Status.SUCCEEDED
    return operation


def expire() -> None:
    Operation.objects.update(purge_at=timezone.now() - timedelta(seconds=1))


Capture = Callable[..., object]


def test_purge_content__leaves_a_tombstone(
    folder: Path, django_capture_on_commit_callbacks: Capture
) -> None:
    operation = finished()
    assert bytes_below(folder) == 2
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[attr-defined]
        assert retention.purge_content(operation, only_expired=False)
        assert bytes_below(folder) == 2
    assert bytes_below(folder) == 0
    assert not OperationFile.objects.exists()
    assert not OperationResult.objects.exists()
    row = Operation.objects.get()
    assert (row.status, row.input, row.version) == ("succeeded", {}, operation.version + 1)
    assert row.deleted_at is not None
    assert row.purge_at > timezone.now()
    assert not retention.purge_content(row, only_expired=False)


SECRET = "4 Privet Drive"


def reveal(operation: Job) -> None:
    """Fails. Its messages and its error quote the input."""
    operation.progress(1, 2, f"looking at {SECRET}")
    raise OperationFailed(f"Nobody lives at {SECRET}.", code=SECRET)


@pytest.mark.parametrize("expired", [False, True], ids=["deleted", "expired"])
def test_purge_content__leaves_nothing_of_input_and_messages(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, expired: bool
) -> None:
    retried = replace(echo.kind, function=reveal, max_retries=1, autoretry_for=(OperationFailed,))
    monkeypatch.setattr(echo, "kind", retried)
    operation = services.submit(
        echo, input={"where": SECRET}, extra={"agent": SECRET}, owner="7", view="v", key=KEY
    )
    for _attempt in range(2):
        Operation.objects.update(available_at=timezone.now() - timedelta(seconds=1))
        run_operations()
    # The heartbeat had no time to store the job's last message.
    Operation.objects.update(message=SECRET)
    operation.refresh_from_db()
    assert operation.status == Status.FAILED
    assert OperationAttempt.objects.count() == 2
    assert SECRET in str(everything())
    expire()
    assert retention.purge_content(operation, only_expired=expired)
    assert SECRET not in str(everything())
    assert not OperationAttempt.objects.exists()
    row = Operation.objects.get()
    kept = (row.status, row.kind, row.owner, row.view, row.idempotency_digest, row.fingerprint)
    assert kept == ("failed", echo.name, "7", "v", KEY.digest, KEY.fingerprint)
    assert (row.input, row.extra, row.error, row.message) == ({}, {}, None, "")
    with pytest.raises(OperationGone):
        KEY.find()


@pytest.mark.django_db(transaction=True)
def test_purge_content__rolled_back_keeps_the_files(folder: Path) -> None:
    operation = finished()
    with transaction.atomic():
        assert retention.purge_content(operation, only_expired=False)
        transaction.set_rollback(True)
    assert (bytes_below(folder), OperationFile.objects.count()) == (2, 2)
    assert OperationResult.objects.exists()


@pytest.mark.parametrize("status", [*sorted(UNFINISHED), *sorted(FINAL)])
def test_purge_content__only_finished_and_expired(status: Status) -> None:
    operation = services.submit(echo)
    Operation.objects.update(status=status, purge_at=timezone.now() + timedelta(hours=1))
    assert not retention.purge_content(operation, only_expired=True)
    expire()
    assert retention.purge_content(operation, only_expired=True) is (status in FINAL)


def test_purge__removes_the_content_and_later_the_tombstone() -> None:
    operation = finished()
    assert retention.purge() == 0
    expire()
    assert retention.purge() == 1
    operation.refresh_from_db()
    assert operation.deleted_at is not None
    assert retention.purge() == 0
    expire()
    assert retention.purge() == 1
    assert not Operation.objects.exists()
    assert retention.purge() == 0


def test_purge__takes_the_oldest_first_and_stops_in_time(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ASYNC_REPLY = {"BATCH": 2}
    monkeypatch.setattr(retention, "BATCHES_AT_ONCE", 1)
    monkeypatch.setattr(retention, "SECONDS_PER_TURN", 0)
    for age in (1, 3, 2):
        operation = services.submit(echo)
        run_operations()
        Operation.objects.filter(pk=operation.pk).update(
            purge_at=timezone.now() - timedelta(days=age), message=str(age)
        )
    assert retention.purge() == 2
    left = Operation.objects.filter(deleted_at=None)
    assert list(left.values_list("message", flat=True)) == ["1"]


def test_purge__takes_several_batches_in_one_turn(settings: Settings) -> None:
    settings.ASYNC_REPLY = {"BATCH": 1}
    for _ in range(7):
        services.submit(echo)
    run_operations()
    expire()
    assert retention.purge() == 7
    assert not Operation.objects.filter(deleted_at=None).exists()


@pytest.mark.parametrize("is_listened_to", [False, True])
def test_purge__costs_no_statement_for_each_row(
    is_listened_to: bool, django_assert_max_num_queries: Any
) -> None:
    """Tombstones that others were rerun from can be deleted, and reruns stay."""
    original, *_ = [services.submit(echo) for _ in range(30)]
    run_operations()
    expire()
    # With two savepoints in the transaction of the test.
    with django_assert_max_num_queries(8):
        assert retention.purge() == 30
    expire()
    rerun = services.submit(echo)
    Operation.objects.filter(pk=rerun.pk).update(rerun_of=original, purge_at=None)
    heard: list[Any] = []

    def hear(instance: Any, **_kwargs: Any) -> None:
        heard.append(instance)

    if is_listened_to:
        post_delete.connect(hear, sender=Operation)
    try:
        with django_assert_max_num_queries(12):
            assert retention.purge() == 30
    finally:
        post_delete.disconnect(hear, sender=Operation)
    assert len(heard) == 30 * is_listened_to
    row = Operation.objects.get()
    assert (row.pk, row.rerun_of_id) == (rerun.pk, None)


def test_purge__leaves_unfinished_operations() -> None:
    services.submit(echo)
    expire()
    retention.purge()
    row = Operation.objects.get()
    assert (row.status, row.deleted_at) == (Status.PENDING, None)


@pytest.mark.parametrize(
    ("own", "of_kind", "seconds"), [(None, None, 100), (None, 50, 50), (20, 50, 20), (0, None, 0)]
)
def test_retention__submit_before_kind_before_setting(
    own: int | None,
    of_kind: int | None,
    seconds: int,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
) -> None:
    settings.ASYNC_REPLY = {"RETENTION": 100}
    monkeypatch.setattr(echo, "kind", replace(echo.kind, retention=of_kind))
    operation = services.submit(echo, retention=own)
    run_operations()
    operation.refresh_from_db()
    assert operation.finished_at is not None
    assert operation.expires_at == operation.purge_at
    assert operation.expires_at == operation.finished_at + timedelta(seconds=seconds)


@contextmanager
def kept(model: type[Model], refused: UUID, error: Exception) -> Iterator[None]:
    """Deleting rows of `refused` fails, as with a foreign key of the project that is PROTECT."""

    def refuse(instance: Any, **_: Any) -> None:
        if refused in {instance.pk, getattr(instance, "operation_id", None)}:
            raise error

    pre_delete.connect(refuse, sender=model)
    yield
    pre_delete.disconnect(refuse, sender=model)


PROTECTED = ProtectedError("referenced through protected foreign keys: 'Pinned.operation'", set())


@pytest.mark.parametrize(
    ("model", "tombstones"),
    [(OperationResult, False), (Operation, True)],
    ids=["content", "tombstone"],
)
def test_purge__protected_row_does_not_stop_the_others(
    model: type[Model], tombstones: bool, caplog: pytest.LogCaptureFixture
) -> None:
    pinned, *others = [finished() for _ in range(3)]
    expire()
    if tombstones:
        retention.purge()
        expire()
    with kept(model, pinned.pk, PROTECTED):
        assert retention.purge() == 3
        assert retention.purge() == 0
    [text] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert str(pinned.pk) in text
    assert "Pinned.operation" in text
    left = Operation.objects.filter(pk__in=[other.pk for other in others])
    assert [row.deleted_at is None for row in left] == ([] if tombstones else [False, False])
    pinned.refresh_from_db()
    assert (pinned.deleted_at is not None) is tombstones
    assert pinned.purge_at is not None
    assert timedelta(minutes=59) < pinned.purge_at - timezone.now() < timedelta(hours=1)
    expire()
    assert retention.purge() == 3 - 2 * tombstones


def test_purge__database_that_is_away_postpones_no_row(caplog: pytest.LogCaptureFixture) -> None:
    operation = finished()
    expire()
    with (
        kept(OperationResult, operation.pk, OperationalError("away")),
        pytest.raises(OperationalError),
    ):
        retention.purge()
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


def test_delete__unfinished_is_refused() -> None:
    with pytest.raises(NotFinished):
        services.delete(services.submit(echo))


def test_delete__second_time_does_nothing() -> None:
    operation = finished()
    services.delete(operation)
    services.delete(operation)
    assert Operation.objects.get().deleted_at is not None
