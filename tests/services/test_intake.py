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
    """Raises `errors` one after the other, then takes note of the operation."""

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
def test_once__deadlock_is_tried_again(broker: list[str]) -> None:
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
def test_once__gives_up(error: Exception, tries: int) -> None:
    perform = Perform(*[error] * intake.INSERT_TRIES)
    with pytest.raises(type(error)) as raised:
        submit(perform)
    assert raised.value is error
    assert perform.called == tries
    assert not Operation.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_once__deadlock_of_a_callers_transaction_is_the_callers() -> None:
    perform = Perform(DEADLOCK)
    with pytest.raises(OperationalError), transaction.atomic():
        submit(perform)
    assert perform.called == 1


@pytest.mark.django_db
def test_once__key_that_is_taken_and_nowhere_to_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """By another transaction's row, say, that this one cannot see."""
    submit(Perform())
    found: list[Any] = []
    monkeypatch.setattr(IdempotencyKey, "find", lambda self: found.append(self))
    with pytest.raises(intake.KeyTaken):
        submit(Perform())
    assert len(found) == intake.INSERT_TRIES
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
def test_once__row_that_is_refused_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a constraint that a project added, say: the next try would be refused too."""
    tries: list[Operation] = []

    def refuse(operation: Operation, **options: Any) -> None:
        tries.append(operation)
        raise IntegrityError("refused")

    monkeypatch.setattr(Operation, "save", refuse)
    with pytest.raises(IntegrityError, match="refused") as raised:
        services.submit(tasks.echo)
    assert type(raised.value) is IntegrityError
    assert len(tries) == 1
