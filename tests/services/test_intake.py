from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, transaction

from async_reply import services
from async_reply.exceptions import QuotaExceeded
from async_reply.models import Operation
from async_reply.services import intake
from async_reply.services.idempotency import IdempotencyKey
from async_reply.services.quotas import Quota
from tests.project import tasks

KEY = IdempotencyKey(digest="d" * 64, fingerprint="f" * 64)

DEADLOCK = OperationalError(1213, "Deadlock found when trying to get lock")


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
def test_insert_once__inside_a_transaction_of_the_caller_tries_once() -> None:
    perform = Perform(DEADLOCK)
    with pytest.raises(OperationalError), transaction.atomic():
        submit(perform)
    assert perform.called == 1


@pytest.mark.django_db
def test_insert_once__key_is_taken_by_an_invisible_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row of another transaction, for example."""
    submit(Perform())
    finds: list[Any] = []
    monkeypatch.setattr(IdempotencyKey, "find", lambda self: finds.append(self))
    with pytest.raises(intake.KeyTaken):
        submit(Perform())
    assert len(finds) == intake.INSERT_TRIES
    assert Operation.objects.count() == 1


@pytest.mark.django_db
def test_insert__beyond_the_quota_is_not_stored(settings: Any) -> None:
    settings.ASYNC_REPLY = {"MAX_UNFINISHED": 1}
    operations = [Operation(kind="tests.kind", owner="7") for _ in range(2)]
    intake.insert(operations[0], [], quota=Quota("7", view=""))
    with pytest.raises(QuotaExceeded):
        intake.insert(operations[1], [], quota=Quota("7", view=""))
    assert Operation.objects.get() == operations[0]


@pytest.mark.django_db
def test_insert_once__constraint_of_the_project_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries: list[Operation] = []

    def refuse(operation: Operation, **options: Any) -> None:
        tries.append(operation)
        raise IntegrityError("refused")

    monkeypatch.setattr(Operation, "save", refuse)
    with pytest.raises(IntegrityError, match="refused") as raised:
        services.submit(tasks.echo)
    assert type(raised.value) is IntegrityError
    assert len(tries) == 1
