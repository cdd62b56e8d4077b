"""Fixed statements do what Django's own would do, and are compiled once."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, F
from django.db.models.functions import Coalesce, Least, Upper
from django.db.models.signals import ModelSignal, post_init, pre_init
from django.db.models.sql import compiler

from async_reply import lifecycle, services
from async_reply.attempts import results
from async_reply.database import alias, statements
from async_reply.database.clock import DatabaseNow, after
from async_reply.models import Operation, OperationResult, OperationStep
from async_reply.status import Status
from tests.project.tasks import echo

pytestmark = pytest.mark.django_db

postgresql = pytest.mark.skipif(
    not statements.are_possible(connection.alias), reason="needs UPDATE … RETURNING and WITH"
)


def running() -> Any:
    operation = lifecycle.claim_unread(services.submit(echo).pk, worker="w1")
    assert operation is not None
    return operation


@postgresql
def test_update_returning__returns_the_new_values() -> None:
    operation = services.submit(echo, input={"a": [1]}, owner="ada")
    changes = {"version": F("version") + 1, "deadline_at": after(60)}
    guard = {"pk": operation.pk}
    returned = statements.update_returning(Operation, alias(), guard, changes)
    row = Operation.objects.values().get()
    assert {name: getattr(returned, name) for name in row} == row
    assert (returned.version, returned.input) == (2, {"a": [1]})


@postgresql
def test_update_returning__without_a_matching_row_returns_nothing() -> None:
    services.submit(echo)
    assert statements.update_returning(Operation, alias(), {"version": 7}, {"version": 8}) is None


@postgresql
@pytest.mark.parametrize(
    "outcome",
    [
        results.JobResult(value={"a": ["é", 1.5, None]}),
        results.JobResult(value=None),
        results.JobResult(value="50 %s", content_type="text/plain", headers={"X-A": "%"}),
        results.JobResult(location={"url": "https://example.org/"}),
    ],
)
def test_update__with_an_insert_stores_the_same_as_save(outcome: results.JobResult) -> None:
    operation = running()
    assert lifecycle.succeed(operation, result=results.build_row(operation, outcome))
    inserted = OperationResult.objects.values().get()
    OperationResult.objects.all().delete()
    results.store(operation, outcome)
    assert OperationResult.objects.values().get() == inserted


@postgresql
def test_update__with_an_insert_without_a_matching_row_inserts_nothing() -> None:
    operation = running()
    Operation.objects.update(attempt=2)
    result = results.build_row(operation, results.JobResult(value=1))
    assert not lifecycle.succeed(operation, result=result)
    assert not OperationResult.objects.exists()


@postgresql
def test_update__with_an_insert_failed_insert_undoes_the_update() -> None:
    operation = running()
    results.store(operation, results.JobResult(value=1))
    result = results.build_row(operation, results.JobResult(value=2))
    with pytest.raises(IntegrityError), transaction.atomic():
        lifecycle.succeed(operation, result=result)
    assert Operation.objects.get().status == Status.RUNNING
    assert OperationResult.objects.get().value == 1


#: Guards and changes, of each sort of value and expression that a statement may have.
STATEMENTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"message": "50 %s", "progress": 7}),
    ({"owner": "ada", "version": 1}, {"message": "", "progress": None}),
    ({"status__in": ["pending", "running"]}, {"error": {"a": [1, None]}, "input": {}}),
    ({"published_at": None}, {"input": ["a", 1], "extra": {"é": 1.5}}),
    ({"retries__lte": F("max_retries")}, {"retries": F("retries") + 1}),
    ({"version__lt": 9}, {"version": F("version") + 2 - F("losses")}),
    ({"available_at__lte": DatabaseNow()}, {"finished_at": DatabaseNow()}),
    (
        {"available_at__lte": DatabaseNow() + timedelta(seconds=5)},
        {"lease_expires_at": Least(after(20), after(3))},
    ),
    ({}, {"expires_at": Coalesce(F("expires_at"), after(60.5)), "purge_at": after(0)}),
    ({"owner": "eve"}, {"message": "matches no row"}),
    ({"kind": echo.name, "attempt": 0}, {"status": Status.RUNNING, "worker": "w1"}),
]


def assert_equal(first: Operation, second: Operation) -> None:
    """The rows are equal, except for their ids and for seconds between two statements."""
    one, other = (Operation.objects.values().get(pk=row.pk) for row in (first, second))
    assert_close({**one, "id": None}, {**other, "id": None})


def assert_close(one: dict[str, Any], other: dict[str, Any]) -> None:
    for name, value in one.items():
        if isinstance(value, datetime):
            assert abs(value - other[name]) < timedelta(seconds=10), name
        else:
            assert value == other[name], name


@pytest.mark.parametrize(("guard", "changes"), STATEMENTS)
def test_update__writes_what_django_writes(guard: dict[str, Any], changes: dict[str, Any]) -> None:
    expected, fixed = (services.submit(echo, owner="ada") for _ in range(2))
    Operation.objects.update(published_at=None)
    matched = Operation.objects.filter(pk=expected.pk, **guard).update(**changes)
    for _ in range(2):  # compiled, and found again
        Operation.objects.filter(pk=fixed.pk).delete()
        fixed.save(force_insert=True)
        Operation.objects.update(published_at=None)
        row = {"pk": fixed.pk, **guard}
        assert statements.update(Operation, alias(), row, changes) == bool(matched)
    assert_equal(fixed, expected)


def test_update__is_compiled_once_for_all_values(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    as_sql = compiler.SQLUpdateCompiler.as_sql

    def count(self: Any) -> Any:
        compiled.append("update")
        return as_sql(self)

    monkeypatch.setattr(compiler.SQLUpdateCompiler, "as_sql", count)
    monkeypatch.setattr(statements, "kept", {})
    operation = services.submit(echo)
    compiled.clear()
    for number in range(1, 4):
        guard = {"pk": operation.pk, "version": number}
        changes = {
            "version": F("version") + 1,
            "message": str(number),
            "purge_at": after(number + 1),
        }
        assert statements.update(Operation, alias(), guard, changes)
    assert compiled == ["update"]
    assert Operation.objects.get().message == "3"


def test_update__expression_that_is_used_again_keeps_its_values() -> None:
    """An expression keeps its shape, and other columns follow it in other statements."""
    guard = {"pk": services.submit(echo).pk}
    later = F("attempt") + 5
    for attempt, others in ((5, {}), (10, {"message": "a"}), (15, {"owner": "b"})):
        statements.update(Operation, alias(), guard, {"attempt": later, **others})
        assert Operation.objects.get().attempt == attempt
    operation = Operation.objects.get()
    assert (operation.message, operation.owner) == ("a", "b")


def test_update__refuses_an_expression_without_a_known_shape() -> None:
    guard = {"pk": services.submit(echo).pk}
    statements.update(Operation, alias(), guard, {"message": Upper("owner")})
    with pytest.raises(TypeError, match="Exists"):
        statements.update(Operation, alias(), guard, {"progress": Exists(Operation.objects.all())})


@pytest.mark.parametrize("defer", [(), ("input", "extra")])
def test_read__returns_the_row_as_django_does(defer: tuple[str, ...]) -> None:
    submitted = services.submit(echo, input={"a": [1]}, owner="ada", extra={"é": 1})
    for guard in ({"pk": submitted.pk}, {"pk": submitted.pk, "owner": "ada"}):
        for _ in range(2):
            operation = statements.read(Operation, alias(), guard, defer=defer)
            assert operation.get_deferred_fields() == set(defer)
            row = Operation.objects.values().get()
            assert {name: getattr(operation, name) for name in row} == row
    assert statements.read(Operation, alias(), {"pk": submitted.pk, "owner": "eve"}) is None


MOMENTS = [
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
    datetime(2038, 1, 19, 3, 14, 8, 999999, tzinfo=UTC),
    datetime(9998, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
]


@pytest.mark.parametrize("zone", [None, "Asia/Kolkata", "America/New_York"])
@pytest.mark.parametrize("moment", MOMENTS, ids=str)
def test_read__times_are_exact_and_in_the_time_zone_of_the_database(
    moment: datetime, zone: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if zone is not None and connection.vendor == "postgresql":
        # The other databases are told the zone when they store.
        monkeypatch.setattr(connection, "timezone", ZoneInfo(zone))
        connection.ensure_timezone()
    guard = {"pk": services.submit(echo).pk}
    statements.update(Operation, alias(), guard, {"expires_at": moment})
    expected = Operation.objects.get()
    returned = [statements.read(Operation, alias(), guard)]
    if statements.are_possible(alias()):
        changes = {"version": F("version") + 1}
        returned.append(statements.update_returning(Operation, alias(), guard, changes))
    for operation in returned:
        assert operation.expires_at == moment
        assert operation.expires_at.utcoffset() == expected.expires_at.utcoffset()
        assert operation.finished_at is None


@pytest.mark.parametrize("signal", [pre_init, post_init])
def test_read__receivers_of_signals_hear_of_it(signal: ModelSignal) -> None:
    pk, heard = services.submit(echo).pk, list[str]()

    def hear(**kwargs: Any) -> None:
        heard.append("init")

    signal.connect(hear, sender=Operation)
    try:
        operation = statements.read(Operation, alias(), {"pk": pk})
    finally:
        signal.disconnect(hear, sender=Operation)
    assert (operation.pk, heard) == (pk, ["init"])


def test_read__row_is_saved_like_one_that_django_read() -> None:
    pk = services.submit(echo).pk
    operation = statements.read(Operation, alias(), {"pk": pk}, defer=("input",))
    assert (operation._state.adding, operation._state.db) == (False, alias())
    assert operation == Operation.objects.get(pk=pk)
    assert operation.input == {}
    operation.refresh_from_db()


def test_read_with__returns_both_rows_as_django_does() -> None:
    operation = services.submit(echo, input={"a": [1]}, extra={"é": 1})
    pk = OperationStep.objects.create(operation=operation, name="x", ordinal=1, attempt=1).pk
    expected = OperationStep.objects.select_related("operation").get()
    for _ in range(2):
        step = statements.read_with(OperationStep, alias(), {"pk": pk}, "operation")
        for row, other in ((step, expected), (step.operation, expected.operation)):
            assert (row._state.adding, row._state.db) == (False, alias())
            assert type(row) is type(other)
            row_values, other_values = vars(row), vars(other)
            assert {**row_values, "_state": None} == {**other_values, "_state": None}
    assert statements.read_with(OperationStep, alias(), {"pk": 0}, "operation") is None


@pytest.mark.parametrize(("most", "expected"), [(2, 2), (3, 3), (5, 3)])
def test_count__counts_up_to_a_bound(most: int, expected: int) -> None:
    for owner in ("ada", "ada", "eve", "ada"):
        services.submit(echo, owner=owner)
    for _ in range(2):  # compiled, and found again
        guard = {"owner": "ada", "status__in": ["pending", "running"]}
        assert statements.count(Operation, alias(), guard, most=most) == expected
    assert statements.count(Operation, alias(), {**guard, "owner": "bob"}, most=most) == 0


def test_update__that_fails_inside_a_transaction_marks_it_for_rollback() -> None:
    operation = services.submit(echo)
    with transaction.atomic():
        with pytest.raises(IntegrityError):
            statements.update(Operation, alias(), {"pk": operation.pk}, {"kind": None})
        assert transaction.get_rollback()
        transaction.set_rollback(True)
