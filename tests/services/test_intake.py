from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError, OperationalError, transaction
from django.utils import timezone

from async_reply import services, signals
from async_reply.attempts.jobs import Job
from async_reply.database import inserts
from async_reply.database.clock import after
from async_reply.estimates import backlogs, forecasts
from async_reply.exceptions import (
    KeyReused,
    OperationGone,
    PayloadError,
    QuotaExceeded,
    StorageFailed,
)
from async_reply.models import Operation, OperationFile
from async_reply.publishing.broker import breaker
from async_reply.services import intake
from async_reply.services.idempotency import IdempotencyKey
from async_reply.services.quotas import Quota
from async_reply.status import Status
from async_reply.tasks import operation_task
from async_reply.testing import run_operations
from tests.project import tasks

pytestmark = pytest.mark.django_db

KEY = IdempotencyKey(digest="d" * 64, fingerprint="f" * 64)

DEADLOCK = OperationalError(1213, "Deadlock found when trying to get lock")


def test_submit__stores_the_options_of_the_task() -> None:
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


@pytest.mark.parametrize("use_tz", [True, False])
@pytest.mark.parametrize("delay", [None, 3600])
def test_submit__time_of_all_attempts_begins_when_it_may_start(
    delay: int | None, use_tz: bool, settings: Any
) -> None:
    settings.USE_TZ = use_tz

    @operation_task(name=f"tests.web.limited{delay}{use_tz}", total_time_limit=60)
    def limited(operation: Job) -> None: ...

    later = None if delay is None else timezone.now() + timedelta(seconds=delay)
    services.submit(limited, available_at=later)
    row = Operation.objects.get()
    assert timedelta(seconds=59) < row.give_up_at - row.available_at <= timedelta(seconds=61)
    services.submit(limited, available_at=after(30))
    row = Operation.objects.latest("pk")
    assert timedelta(seconds=59) < row.give_up_at - row.available_at <= timedelta(seconds=61)
    assert services.submit(tasks.echo).give_up_at is None


def test_submit__for_later_is_not_published(broker: list[str]) -> None:
    tomorrow = timezone.now() + timedelta(days=1)
    operation = services.submit(tasks.echo, available_at=tomorrow)
    operation.refresh_from_db()
    assert (operation.available_at, operation.published_at) == (tomorrow, None)
    assert run_operations() == []


EAST, WEST = (timezone.get_fixed_timezone(hours * 60) for hours in (14, -12))


@pytest.mark.parametrize(
    "far", [datetime(9998, 12, 31, 23, 59, tzinfo=WEST), datetime(1970, 1, 1, tzinfo=EAST)]
)
def test_submit__far_date_can_be_polled(far: datetime) -> None:
    operation = services.submit(tasks.echo, available_at=far)
    operation.refresh_from_db()
    assert operation.available_at == far
    assert backlogs.position(services.submit(tasks.echo)).is_exact
    assert forecasts.Forecast(operation).retry_after > 0


@pytest.mark.parametrize(
    "far", [datetime(9999, 1, 1, tzinfo=WEST), datetime.max, datetime(1969, 12, 31, tzinfo=EAST)]
)
def test_submit__date_that_cannot_be_read_back_is_refused(far: datetime) -> None:
    with pytest.raises(ValueError, match="available_at"):
        services.submit(tasks.echo, available_at=far)


def test_submit__while_the_broker_is_down_is_not_published() -> None:
    breaker.trip()
    operation = services.submit(tasks.echo)
    operation.refresh_from_db()
    assert (operation.publishes, operation.published_at) == (0, None)


@pytest.mark.django_db(transaction=True)
def test_submit__rolled_back_stores_and_publishes_nothing(broker: list[str]) -> None:
    with transaction.atomic():
        services.submit(tasks.echo)
        transaction.set_rollback(True)
    assert (Operation.objects.count(), broker) == (0, [])


@pytest.mark.django_db(transaction=True)
def test_submit__sends_its_signal_after_the_commit(broker: list[str]) -> None:
    heard: list[str] = []

    def listen(operation: Operation, **_: Any) -> None:
        heard.append(str(operation.pk))

    signals.operation_submitted.connect(listen)
    try:
        operation = services.submit(tasks.echo)
    finally:
        signals.operation_submitted.disconnect(listen)
    assert heard == broker == [str(operation.pk)]


def test_submit__wrong_arguments_are_refused_at_once() -> None:
    with pytest.raises(TypeError, match="get_input"):
        services.submit(tasks.read, input={"title": "no files"})
    assert not Operation.objects.exists()


def test_submit__input_that_cannot_be_stored_is_refused() -> None:
    with pytest.raises(PayloadError):
        services.submit(tasks.echo, input={"number": float("nan")})
    assert not Operation.objects.exists()


def test_submit__same_key_returns_the_same_operation() -> None:
    first = services.submit(tasks.echo, key=KEY)
    again = services.submit(tasks.echo, key=KEY)
    assert first.pk == again.pk


def test_submit__key_of_another_request_is_refused() -> None:
    services.submit(tasks.echo, key=KEY)
    with pytest.raises(KeyReused):
        services.submit(tasks.echo, key=IdempotencyKey(KEY.digest, "0" * 64))


def test_submit__key_of_a_deleted_operation_is_refused() -> None:
    operation = services.submit(tasks.echo, key=KEY)
    run_operations()
    operation.refresh_from_db()
    services.delete(operation)
    with pytest.raises(OperationGone, match="use a new key"):
        services.submit(tasks.echo, key=KEY)


def test_submit__constraint_of_the_project_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def conflict(operation: Operation) -> None:
        raise IntegrityError("a constraint of the project's")

    with pytest.raises(IntegrityError):
        services.submit(tasks.echo, perform=conflict)
    with pytest.raises(IntegrityError):
        services.submit(tasks.echo, perform=conflict, key=KEY)


def test_submit__first_upload_is_deleted_when_the_second_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage = OperationFile._meta.get_field("file").storage
    deleted: list[str] = []
    save = storage.save

    def refuse_second(name: str, content: Any, **options: Any) -> str:
        if name.endswith("b.txt"):
            raise OSError("disk full")
        stored: str = save(name, content, **options)
        return stored

    monkeypatch.setattr(storage, "save", refuse_second)
    monkeypatch.setattr(storage, "delete", deleted.append)
    uploads = [SimpleUploadedFile(name, b"x") for name in ("a.txt", "b.txt")]
    with pytest.raises(StorageFailed):
        services.submit(tasks.read, input={"title": "", "files": uploads})
    # The second was written in part.
    assert [name.rpartition("-")[2] for name in deleted] == ["b.txt", "a.txt"]


class Perform:
    """A `perform` that raises one of `errors` at each call, until none is left."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.called = 0

    def __call__(self, operation: Operation) -> None:
        self.called += 1
        if self.errors:
            raise self.errors.pop()


def submit(perform: Perform) -> Operation:
    return services.submit(tasks.echo, key=KEY, perform=perform)


@pytest.mark.django_db(transaction=True)
def test_insert_once__tries_again_after_a_deadlock(broker: list[str]) -> None:
    perform = Perform(*[DEADLOCK] * (intake.INSERT_TRIES - 1))
    operation = submit(perform)
    assert Operation.objects.get() == operation
    assert perform.called == intake.INSERT_TRIES
    assert broker == [str(operation.pk)]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (DEADLOCK, intake.INSERT_TRIES),
        (OperationalError(2006, "Server has gone away"), 1),
        (IntegrityError("of the project's own"), 1),
    ],
)
def test_insert_once__raises_the_error_in_the_end(error: Exception, tries: int) -> None:
    perform = Perform(*[error] * intake.INSERT_TRIES)
    with pytest.raises(type(error)) as raised:
        submit(perform)
    assert raised.value is error
    assert perform.called == tries
    assert not Operation.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_submit__without_autocommit_is_stored() -> None:
    transaction.set_autocommit(False)
    try:
        operation = services.submit(tasks.echo)
        transaction.commit()
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    assert Operation.objects.get() == operation


@pytest.mark.django_db(transaction=True)
def test_insert_once__inside_a_transaction_of_the_caller_tries_once() -> None:
    perform = Perform(DEADLOCK)
    with pytest.raises(OperationalError), transaction.atomic():
        submit(perform)
    assert perform.called == 1


def test_insert_once__key_is_taken_by_an_invisible_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row of another transaction, for example."""
    submit(Perform())
    finds: list[Any] = []
    monkeypatch.setattr(IdempotencyKey, "find", lambda self: finds.append(self))
    with pytest.raises(intake.KeyTaken):
        submit(Perform())
    assert len(finds) == intake.INSERT_TRIES
    assert Operation.objects.count() == 1


def test_insert__beyond_the_quota_is_not_stored(settings: Any) -> None:
    settings.ASYNC_REPLY = {"MAX_UNFINISHED": 1}
    operations = [Operation(kind="tests.kind", owner="7") for _ in range(2)]
    intake.insert(operations[0], [], quota=Quota("7", view=""))
    with pytest.raises(QuotaExceeded):
        intake.insert(operations[1], [], quota=Quota("7", view=""))
    assert Operation.objects.get() == operations[0]


def test_insert_once__constraint_of_the_project_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries: list[Operation] = []

    def refuse(operation: Operation, using: str) -> None:
        tries.append(operation)
        raise IntegrityError("refused")

    monkeypatch.setattr(inserts, "insert", refuse)
    with pytest.raises(IntegrityError, match="refused") as raised:
        services.submit(tasks.echo)
    assert type(raised.value) is IntegrityError
    assert len(tries) == 1
