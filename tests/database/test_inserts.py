"""Inserts do what Django's own would do, and are compiled once."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.db.models.expressions import DatabaseDefault
from django.db.models.signals import ModelSignal, post_init, post_save, pre_init, pre_save
from django.db.models.sql import compiler

from async_reply import services
from async_reply.database import alias, inserts
from async_reply.database.clock import DatabaseNow, after
from async_reply.models import Operation
from tests.database.test_statements import assert_close
from tests.project.tasks import echo

pytestmark = pytest.mark.django_db


def rows_to_insert() -> list[Operation]:
    moment = datetime(2026, 11, 28, 12, 0, 0, 123456, tzinfo=UTC)
    return [
        Operation(kind="tests.kind"),
        Operation(
            kind="100 %s",
            owner="é",
            input={"a": [1, None, "%s"]},
            extra={"when": "2026"},
            reply={"redirect_status": 303},
            published_at=DatabaseNow(),
            publishes=1,
            priority=-3,
            retention=60,
        ),
        Operation(kind="tests.kind", available_at=moment, idempotency_digest="0" * 64),
        Operation(kind="tests.kind", available_at=after(60)),
        # A default of another type, and numbers beside those that the SQL says itself.
        Operation(kind="tests.kind", attempt=False, retries=1.0, earlier_seconds=0.0, message="0"),
        Operation(kind="tests.kind", attempt=2**31 - 1, priority=0, queue=" ", progress=0),
    ]


@pytest.mark.parametrize("number", range(len(rows_to_insert())))
def test_insert__stores_the_same_as_save(number: int) -> None:
    by_django, fixed = (rows_to_insert()[number] for _ in range(2))
    by_django.save(force_insert=True)
    expected = Operation.objects.values().get()
    by_django.delete()
    inserts.insert(fixed, alias())
    stored = Operation.objects.values().get()
    assert_close(stored, {**expected, "id": fixed.pk})
    assert {name: getattr(fixed, name) for name in stored} == stored
    assert (fixed._state.adding, fixed._state.db) == (False, alias())


COLUMNS: dict[str, Any] = {"kind": "tests.kind", "owner": "ada", "retention": None}


def test_new__makes_the_instance_that_django_makes() -> None:
    first, second = (inserts.new(Operation, **COLUMNS, reply={"status": 200}) for _ in range(2))
    by_django = Operation(**COLUMNS, reply={"status": 200})
    own, expected = (
        {
            name: DatabaseDefault if isinstance(value, DatabaseDefault) else value
            for name, value in vars(row).items()
            if name not in ("id", "_state")
        }
        for row in (first, by_django)
    )
    assert own == expected
    assert (first._state.adding, first._state.db, first.rerun_of) == (True, None, None)
    assert len({first.pk, second.pk, by_django.pk}) == 3
    assert first.input is not second.input


def test_new__row_is_inserted_like_one_that_django_makes() -> None:
    for row in (Operation(**COLUMNS), inserts.new(Operation, **COLUMNS)):
        inserts.insert(row, alias())
    by_django, own = Operation.objects.order_by("id").values()
    assert_close(own, {**by_django, "id": own["id"]})


@pytest.mark.parametrize("signal", [pre_init, post_init])
def test_new__receivers_of_signals_hear_of_it(signal: ModelSignal) -> None:
    heard: list[Any] = []

    def hear(**kwargs: Any) -> None:
        heard.append(kwargs["signal"])

    signal.connect(hear, sender=Operation)
    try:
        inserts.new(Operation, **COLUMNS)
    finally:
        signal.disconnect(hear, sender=Operation)
    assert heard == [signal]


def test_insert__again_after_a_rollback() -> None:
    row = Operation(kind="tests.kind")
    with transaction.atomic():
        inserts.insert(row, alias())
        transaction.set_rollback(True)
    inserts.insert(row, alias())
    assert Operation.objects.get() == row


def test_insert__rerun_points_to_its_operation() -> None:
    first = services.submit(echo)
    inserts.insert(Operation(kind="tests.kind", rerun_of=first), alias())
    assert first.reruns.count() == 1


def test_insert__is_compiled_once_for_all_values(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in rows_to_insert():
        inserts.insert(row, alias())
    compiled: list[Any] = []
    monkeypatch.setattr(compiler.SQLInsertCompiler, "as_sql", compiled.append)
    Operation.objects.all().delete()
    for row in rows_to_insert():
        inserts.insert(row, alias())
    assert (compiled, Operation.objects.count()) == ([], len(rows_to_insert()))


def test_insert__a_second_row_with_a_key_is_refused() -> None:
    inserts.insert(Operation(kind="tests.kind", idempotency_digest="0" * 64), alias())
    with pytest.raises(IntegrityError), transaction.atomic():
        inserts.insert(Operation(kind="tests.kind", idempotency_digest="0" * 64), alias())


@pytest.mark.parametrize("signal", [pre_save, post_save])
def test_insert__receivers_of_signals_hear_of_it(signal: ModelSignal) -> None:
    heard: list[Any] = []

    def hear(instance: Operation, **kwargs: Any) -> None:
        heard.append(instance)

    signal.connect(hear, sender=Operation)
    try:
        row = Operation(kind="tests.kind")
        inserts.insert(row, alias())
    finally:
        signal.disconnect(hear, sender=Operation)
    assert heard == [row]
