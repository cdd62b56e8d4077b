"""Statements of PostgreSQL. Other databases need a read or a transaction."""

from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import F

from async_reply import lifecycle, services
from async_reply.attempts import results
from async_reply.database import statements
from async_reply.database.clock import after
from async_reply.models import Operation, OperationResult
from async_reply.status import Status
from tests.project.tasks import echo

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(
        not statements.are_possible(connection.alias), reason="needs UPDATE … RETURNING and WITH"
    ),
]


def running() -> Any:
    operation = lifecycle.claim_unread(services.submit(echo).pk, worker="w1")
    assert operation is not None
    return operation


def test_update_returning__returns_the_new_values() -> None:
    operation = services.submit(echo, input={"a": [1]}, owner="ada")
    changes = {"version": F("version") + 1, "deadline_at": after(60)}
    (returned,) = statements.update_returning(Operation.objects.filter(pk=operation.pk), changes)
    row = Operation.objects.values().get()
    assert {name: getattr(returned, name) for name in row} == row
    assert (returned.version, returned.input) == (2, {"a": [1]})


def test_update_returning__without_a_matching_row_returns_nothing() -> None:
    services.submit(echo)
    assert statements.update_returning(Operation.objects.filter(version=7), {"version": 8}) == []


@pytest.mark.parametrize(
    "outcome",
    [
        results.JobResult(value={"a": ["é", 1.5, None]}),
        results.JobResult(value=None),
        results.JobResult(value="50 %s", content_type="text/plain", headers={"X-A": "%"}),
        results.JobResult(location={"url": "https://example.org/"}),
    ],
)
def test_update_and_insert__stores_the_same_as_save(outcome: results.JobResult) -> None:
    operation = running()
    assert lifecycle.succeed(operation, result=results.build_row(operation, outcome))
    inserted = OperationResult.objects.values().get()
    OperationResult.objects.all().delete()
    results.store(operation, outcome)
    assert OperationResult.objects.values().get() == inserted


def test_update_and_insert__without_a_matching_row_inserts_nothing() -> None:
    operation = running()
    Operation.objects.update(attempt=2)
    result = results.build_row(operation, results.JobResult(value=1))
    assert not lifecycle.succeed(operation, result=result)
    assert not OperationResult.objects.exists()


def test_update_and_insert__failed_insert_undoes_the_update() -> None:
    operation = running()
    results.store(operation, results.JobResult(value=1))
    result = results.build_row(operation, results.JobResult(value=2))
    with pytest.raises(IntegrityError), transaction.atomic():
        lifecycle.succeed(operation, result=result)
    assert Operation.objects.get().status == Status.RUNNING
    assert OperationResult.objects.get().value == 1
