from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError, transaction
from django.utils import timezone

from async_reply import lifecycle, services, signals
from async_reply.attempts.jobs import Job
from async_reply.estimates import backlogs, forecasts
from async_reply.exceptions import (
    AlreadyFinished,
    KeyReused,
    NotCancelable,
    NotFinished,
    OperationGone,
    PayloadError,
    StorageFailed,
    UnknownKind,
)
from async_reply.models import Operation, OperationFile
from async_reply.publishing.broker import breaker
from async_reply.services import cancellation
from async_reply.services.idempotency import IdempotencyKey
from async_reply.status import Status
from async_reply.tasks import operation_task
from async_reply.testing import run_operations
from tests.project import tasks

pytestmark = pytest.mark.django_db

KEY = IdempotencyKey(digest="d" * 64, fingerprint="f" * 64)


def test_submit__freezes_what_the_task_says() -> None:
    operation = services.submit(tasks.persist, owner="7", extra={"a": 1}, reply={"status": 201})
    operation.refresh_from_db()
    assert operation.kind == "tests.persist"
    assert (operation.max_losses, operation.time_limit) == (0, 3600)
    assert (operation.owner, operation.extra, operation.reply) == ("7", {"a": 1}, {"status": 201})
    assert operation.status == Status.PENDING
    assert (operation.publishes, operation.published_at is None) == (1, False)


def test_submit__queue_and_priority_of_the_kind() -> None:
    @operation_task(name="tests.web.slow", queue="slow", priority=3)
    def slow(operation: Job) -> None: ...

    operation = services.submit(slow)
    operation.refresh_from_db()
    assert (operation.queue, operation.priority) == ("slow", 3)
    operation = services.submit(tasks.echo)
    assert (operation.queue, operation.priority) == ("", None)


def test_submit__later_is_left_to_the_relay(broker: list[str]) -> None:
    tomorrow = timezone.now() + timedelta(days=1)
    operation = services.submit(tasks.echo, available_at=tomorrow)
    operation.refresh_from_db()
    assert (operation.available_at, operation.published_at) == (tomorrow, None)
    assert run_operations() == []


EAST, WEST = (timezone.get_fixed_timezone(hours * 60) for hours in (14, -12))


@pytest.mark.parametrize(
    "far", [datetime(9998, 12, 31, 23, 59, tzinfo=WEST), datetime(1970, 1, 1, tzinfo=EAST)]
)
def test_submit__date_that_is_far_away_harms_no_poll(far: datetime) -> None:
    operation = services.submit(tasks.echo, available_at=far)
    operation.refresh_from_db()
    assert operation.available_at == far
    assert backlogs.place(services.submit(tasks.echo)).is_exact
    assert forecasts.retry_after(operation) > 0


@pytest.mark.parametrize(
    "far", [datetime(9999, 1, 1, tzinfo=WEST), datetime.max, datetime(1969, 12, 31, tzinfo=EAST)]
)
def test_submit__date_that_no_poll_could_read_is_refused(far: datetime) -> None:
    with pytest.raises(ValueError, match="available_at"):
        services.submit(tasks.echo, available_at=far)


def test_submit__open_breaker_is_left_to_the_relay() -> None:
    breaker.trip()
    operation = services.submit(tasks.echo)
    operation.refresh_from_db()
    assert (operation.publishes, operation.published_at) == (0, None)


@pytest.mark.django_db(transaction=True)
def test_submit__rolled_back_leaves_nothing(broker: list[str]) -> None:
    with transaction.atomic():
        services.submit(tasks.echo)
        transaction.set_rollback(True)
    assert (Operation.objects.count(), broker) == (0, [])


@pytest.mark.django_db(transaction=True)
def test_submit__tells_listeners_after_the_commit(broker: list[str]) -> None:
    heard: list[str] = []

    def listen(operation: Operation, **_: Any) -> None:
        heard.append(str(operation.pk))

    signals.operation_submitted.connect(listen)
    try:
        operation = services.submit(tasks.echo)
    finally:
        signals.operation_submitted.disconnect(listen)
    assert heard == broker == [str(operation.pk)]


def test_submit__arguments_are_bound_there_and_then() -> None:
    with pytest.raises(TypeError, match="get_input"):
        services.submit(tasks.read, input={"title": "no files"})
    assert not Operation.objects.exists()


def test_submit__unstorable_input() -> None:
    with pytest.raises(PayloadError):
        services.submit(tasks.echo, input={"number": float("nan")})
    assert not Operation.objects.exists()


def test_submit__same_key_is_the_same_operation() -> None:
    first = services.submit(tasks.echo, key=KEY)
    again = services.submit(tasks.echo, key=KEY)
    assert first.pk == again.pk


def test_submit__key_of_another_request() -> None:
    services.submit(tasks.echo, key=KEY)
    with pytest.raises(KeyReused):
        services.submit(tasks.echo, key=IdempotencyKey(KEY.digest, "0" * 64))


def test_submit__key_of_a_deleted_operation() -> None:
    operation = services.submit(tasks.echo, key=KEY)
    run_operations()
    operation.refresh_from_db()
    services.delete(operation)
    with pytest.raises(OperationGone, match="use a new key"):
        services.submit(tasks.echo, key=KEY)


def test_submit__other_conflicts_are_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    def conflict(operation: Operation) -> None:
        raise IntegrityError("a constraint of the project's")

    with pytest.raises(IntegrityError):
        services.submit(tasks.echo, perform=conflict)
    with pytest.raises(IntegrityError):
        services.submit(tasks.echo, perform=conflict, key=KEY)


def test_submit__first_upload_is_removed_when_the_second_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage = OperationFile._meta.get_field("file").storage
    removed: list[str] = []
    save = storage.save

    def refuse_second(name: str, content: Any, **options: Any) -> str:
        if name.endswith("b.txt"):
            raise OSError("disk full")
        stored: str = save(name, content, **options)
        return stored

    monkeypatch.setattr(storage, "save", refuse_second)
    monkeypatch.setattr(storage, "delete", removed.append)
    uploads = [SimpleUploadedFile(name, b"x") for name in ("a.txt", "b.txt")]
    with pytest.raises(StorageFailed):
        services.submit(tasks.read, input={"title": "", "files": uploads})
    # The half of the second, then the first.
    assert [name.rpartition("-")[2] for name in removed] == ["b.txt", "a.txt"]


def test_cancel__pending() -> None:
    operation = services.submit(tasks.echo)
    assert services.cancel(operation) == Status.CANCELED
    assert (operation.status, operation.attempt) == (Status.CANCELED, 0)


def test_cancel__snapshot_that_has_moved_on() -> None:
    operation = services.submit(tasks.echo)
    stale = Operation.objects.get(pk=operation.pk)
    lifecycle.claim(operation, worker="w")
    assert services.cancel(stale) == Status.CANCELING


def test_cancel__finished() -> None:
    operation = services.submit(tasks.echo)
    run_operations()
    with pytest.raises(AlreadyFinished):
        services.cancel(operation)


def test_cancel__kind_that_cannot() -> None:
    operation = services.submit(tasks.persist)
    stale = Operation.objects.get(pk=operation.pk)
    lifecycle.claim(operation, worker="w")
    with pytest.raises(NotCancelable):
        services.cancel(stale)


@pytest.mark.django_db(transaction=True)
def test_cancel__tells_listeners() -> None:
    heard: list[Status] = []

    def listen(status: Status, **_: Any) -> None:
        heard.append(status)

    signals.operation_finished.connect(listen)
    try:
        services.cancel(services.submit(tasks.echo))
    finally:
        signals.operation_finished.disconnect(listen)
    assert heard == [Status.CANCELED]


def test_is_cancelable__unknown_kind_may_be() -> None:
    assert cancellation.is_cancelable(Operation(kind="gone.task"))


def test_rerun__is_a_new_operation_with_copies_of_the_files() -> None:
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


def test_rerun__that_lacks_a_file_leaves_no_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    uploads = [SimpleUploadedFile(name, b"x") for name in ("a.txt", "b.txt")]
    operation = services.submit(tasks.read, input={"title": "t", "files": uploads})
    run_operations()
    operation.refresh_from_db()
    last = OperationFile.objects.order_by("pk")[1].file
    last.storage.delete(last.name)
    removed: list[str] = []
    monkeypatch.setattr(last.storage, "delete", removed.append)
    with pytest.raises(StorageFailed):
        services.rerun(operation)
    assert [name.rpartition("-")[2] for name in removed] == ["a.txt"]
    assert Operation.objects.count() == 1


def test_rerun__unfinished() -> None:
    with pytest.raises(NotFinished):
        services.rerun(services.submit(tasks.echo))


def test_rerun__without_its_input(finish: Callable[[], Operation]) -> None:
    operation = finish()
    services.delete(operation)
    operation.refresh_from_db()
    with pytest.raises(OperationGone, match="submit the request again") as raised:
        services.rerun(operation)
    assert "key" not in str(raised.value)


def test_rerun__kind_that_is_gone(finish: Callable[[], Operation]) -> None:
    operation = finish()
    operation.kind = "gone.task"
    with pytest.raises(UnknownKind):
        services.rerun(operation)


def test_delete__unfinished() -> None:
    with pytest.raises(NotFinished):
        services.delete(services.submit(tasks.echo))


def test_delete__twice_is_once(finish: Callable[[], Operation]) -> None:
    operation = finish()
    services.delete(operation)
    services.delete(operation)
    assert Operation.objects.get().deleted_at is not None


@pytest.fixture
def finish() -> Callable[[], Operation]:
    def make() -> Operation:
        operation = services.submit(tasks.echo)
        run_operations()
        operation.refresh_from_db()
        return operation

    return make


@pytest.mark.parametrize("ended", ["claimed", "retried", "released", "rescued"])
def test_cancel__never_holds_from_the_first_attempt_on(ended: str) -> None:
    """An operation that waits for its next attempt is in the middle of its work."""
    operation = services.submit(tasks.persist)
    Operation.objects.update(max_retries=1, max_losses=1)
    early = Operation.objects.get()
    assert lifecycle.claim(operation, worker="w")
    if ended == "retried":
        assert lifecycle.retry(operation, delay=0)
    elif ended == "released":
        assert lifecycle.release(operation)
    elif ended == "rescued":
        Operation.objects.update(lease_expires_at=timezone.now() - timedelta(hours=1))
        assert lifecycle.rescue(Operation.objects.get()) == Status.PENDING
    # Also where the row was read before the attempt.
    for read in (Operation.objects.get(), early):
        with pytest.raises(NotCancelable):
            services.cancel(read)
    assert Operation.objects.get().status in {Status.PENDING, Status.RUNNING}


def test_cancel__never_is_canceled_before_the_first_attempt() -> None:
    assert services.cancel(services.submit(tasks.persist)) == Status.CANCELED


def test_cancel__other_kinds_while_they_wait_for_their_next_attempt() -> None:
    operation = services.submit(tasks.echo)
    early = Operation.objects.get()
    assert lifecycle.claim(operation, worker="w")
    assert lifecycle.release(operation)
    assert services.cancel(early) == Status.CANCELED
