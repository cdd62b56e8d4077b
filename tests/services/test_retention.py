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
from django.db.models.signals import pre_delete
from django.utils import timezone
from pytest_django import Settings

from async_reply import services
from async_reply.attempts.jobs import Job
from async_reply.exceptions import OperationFailed, OperationGone
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
    """With a file in its input and one as its result."""
    operation = services.submit(export, input={"a": SimpleUploadedFile("a", b"a")})
    run_operations()
    operation.refresh_from_db()
    assert operation.status == Status.SUCCEEDED
    return operation


def expire() -> None:
    Operation.objects.update(purge_at=timezone.now() - timedelta(seconds=1))


Capture = Callable[..., object]


def test_bury__content_goes_and_a_tombstone_stays(
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
    """Fails twice, with words of its input in all that it says."""
    operation.progress(1, 2, f"looking at {SECRET}")
    raise OperationFailed(f"Nobody lives at {SECRET}.", code=SECRET)


@pytest.mark.parametrize("expired", [False, True], ids=["deleted", "expired"])
def test_bury__nothing_stays_of_what_came_in_or_was_said(
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
    # What a job said last, while it runs: this one ended too soon.
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
def test_bury__rolled_back_keeps_the_bytes(folder: Path) -> None:
    operation = finished()
    with transaction.atomic():
        assert retention.purge_content(operation, only_expired=False)
        transaction.set_rollback(True)
    assert (bytes_below(folder), OperationFile.objects.count()) == (2, 2)
    assert OperationResult.objects.exists()


@pytest.mark.parametrize("status", [*sorted(UNFINISHED), *sorted(FINAL)])
def test_bury__only_what_is_over_and_whose_time_has_come(status: Status) -> None:
    operation = services.submit(echo)
    Operation.objects.update(status=status, purge_at=timezone.now() + timedelta(hours=1))
    assert not retention.purge_content(operation, only_expired=True)
    expire()
    assert retention.purge_content(operation, only_expired=True) is (status in FINAL)


def test_purge__first_the_content_then_the_tombstone() -> None:
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


def test_purge__a_batch_at_a_time_oldest_first(settings: Settings) -> None:
    settings.ASYNC_REPLY = {"BATCH": 2}
    for age in (1, 3, 2):
        operation = services.submit(echo)
        run_operations()
        Operation.objects.filter(pk=operation.pk).update(
            purge_at=timezone.now() - timedelta(days=age), message=str(age)
        )
    assert retention.purge() == 2
    left = Operation.objects.filter(deleted_at=None)
    assert list(left.values_list("message", flat=True)) == ["1"]


def test_purge__never_takes_what_is_unfinished() -> None:
    services.submit(echo)
    expire()
    retention.purge()
    row = Operation.objects.get()
    assert (row.status, row.deleted_at) == (Status.PENDING, None)


@pytest.mark.parametrize(
    ("own", "of_kind", "seconds"), [(None, None, 100), (None, 50, 50), (20, 50, 20), (0, None, 0)]
)
def test_retention__of_the_submit_then_of_the_kind_then_of_the_setting(
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
    """As a foreign key of the project does that is PROTECT."""

    def refuse(instance: Any, **_: Any) -> None:
        if refused in {instance.pk, getattr(instance, "operation_id", None)}:
            raise error

    pre_delete.connect(refuse, sender=model)
    yield
    pre_delete.disconnect(refuse, sender=model)


PROTECTED = ProtectedError("referenced through protected foreign keys: 'Pinned.operation'", set())


@pytest.mark.parametrize(
    ("model", "tombstones"), [(OperationResult, False), (Operation, True)], ids=["bury", "remove"]
)
def test_purge__row_that_is_kept_from_it_keeps_no_other(
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
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == 1
    assert str(pinned.pk) in told[0]
    assert "Pinned.operation" in told[0]
    left = Operation.objects.filter(pk__in=[each.pk for each in others])
    assert [row.deleted_at is None for row in left] == ([] if tombstones else [False, False])
    pinned.refresh_from_db()
    assert (pinned.deleted_at is not None) is tombstones
    assert pinned.purge_at is not None
    assert timedelta(minutes=59) < pinned.purge_at - timezone.now() < timedelta(hours=1)
    expire()
    assert retention.purge() == 3 - 2 * tombstones


def test_purge__database_that_is_away_is_no_rows_fault(caplog: pytest.LogCaptureFixture) -> None:
    operation = finished()
    expire()
    with (
        kept(OperationResult, operation.pk, OperationalError("away")),
        pytest.raises(OperationalError),
    ):
        retention.purge()
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []
