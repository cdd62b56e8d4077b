"""Each arrow on the real database, from each status. No other module writes a status."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

import async_reply
from async_reply import lifecycle, services
from async_reply.database.clock import after
from async_reply.database.leases import lease_seconds
from async_reply.models import Operation
from async_reply.status import ACTIVE, FINAL, Status
from tests.project.tasks import echo

PACKAGE = Path(async_reply.__file__).parent
WRITERS = {"update", "create", "Operation", "update_or_create", "get_or_create", "setattr"}

Arrow = Callable[[Operation], Any]

# Function -> (the statuses it leaves, the status it reaches).
ARROWS: dict[str, tuple[Arrow, set[Status], Status]] = {
    "claim": (lambda row: lifecycle.claim(row, worker="w"), {Status.PENDING}, Status.RUNNING),
    "succeed": (lifecycle.succeed, set(ACTIVE), Status.SUCCEEDED),
    "fail": (lambda row: lifecycle.fail(row, {"code": "x"}), set(ACTIVE), Status.FAILED),
    "end_canceled": (lifecycle.end_canceled, {Status.CANCELING}, Status.CANCELED),
    "retry": (lambda row: lifecycle.retry(row, delay=0), {Status.RUNNING}, Status.PENDING),
    "release": (lifecycle.release, {Status.RUNNING}, Status.PENDING),
    "reject": (lifecycle.reject, {Status.PENDING}, Status.FAILED),
}


@pytest.mark.django_db
@pytest.mark.parametrize("time_limit", [7, 3600])
def test_claim_unread__returns_the_claimed_row(one_statement: bool, time_limit: int) -> None:
    """Times may differ by half a second: SQLite's clock has three decimals, Django's sums six."""
    operation = services.submit(echo, input={"a": 1})
    Operation.objects.update(time_limit=time_limit, retries=1, max_retries=2)
    claimed = lifecycle.claim_unread(operation.pk, worker="w1")
    assert claimed is not None
    row = Operation.objects.get()
    for column in ("status", "attempt", "version", "worker", "input", "retries", "max_retries"):
        assert getattr(claimed, column) == getattr(row, column)
    assert (row.status, row.attempt, row.version) == (Status.RUNNING, 1, 2)
    assert abs((row.deadline_at - row.started_at).total_seconds() - time_limit) < 0.5
    lease = min(lease_seconds(), time_limit)
    assert abs((row.lease_expires_at - row.started_at).total_seconds() - lease) < 0.5


@pytest.mark.django_db
@pytest.mark.parametrize("status", list(Status))
def test_claim_unread__claims_pending_and_due_operations_only(
    one_statement: bool, status: Status
) -> None:
    operation = operation_in(status)
    claimed = lifecycle.claim_unread(operation.pk, worker="w1")
    assert (claimed is not None) == (status == Status.PENDING)
    Operation.objects.update(status=Status.PENDING, available_at=after(60))
    assert lifecycle.claim_unread(operation.pk, worker="w1") is None
    assert lifecycle.claim_unread(Operation().pk, worker="w1") is None


def operation_in(status: Status) -> Operation:
    """An operation in `status`, due, with an expired lease."""
    operation = services.submit(echo)
    long_ago = after(-7200)
    Operation.objects.update(
        status=status, attempt=1, available_at=long_ago, lease_expires_at=long_ago
    )
    operation.refresh_from_db()
    return operation


@pytest.mark.django_db
@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("name", ARROWS)
def test_arrow__starts_in_its_own_statuses_only(name: str, status: Status) -> None:
    arrow, sources, target = ARROWS[name]
    operation = operation_in(status)
    assert arrow(operation) is (status in sources)
    row = Operation.objects.get()
    assert row.status == (target if status in sources else status)
    assert row.version == operation.version or status in sources


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["succeed", "fail", "end_canceled", "retry", "release"])
def test_arrow__does_not_change_another_attempt(name: str) -> None:
    operation = operation_in(Status.CANCELING if name == "end_canceled" else Status.RUNNING)
    operation.attempt = 2
    assert not ARROWS[name][0](operation)


@pytest.mark.django_db
@pytest.mark.parametrize("status", sorted(FINAL))
def test_purge__happens_once(status: Status) -> None:
    operation = operation_in(status)
    assert not lifecycle.purge(operation, only_expired=True)
    assert lifecycle.purge(operation, only_expired=False)
    assert not lifecycle.purge(operation, only_expired=False)


@pytest.mark.django_db
def test_beat__lease_ends_at_the_deadline() -> None:
    operation = operation_in(Status.RUNNING)
    Operation.objects.update(deadline_at=after(1))
    assert lifecycle.beat(operation)
    row = Operation.objects.get()
    assert row.lease_expires_at == row.deadline_at


@pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL counts HOT updates")
@pytest.mark.django_db
def test_beat__changes_no_index() -> None:
    def count() -> Any:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables "
                "WHERE relname = 'async_reply_operation'"
            )
            return cursor.fetchone()

    with connection.cursor() as cursor:  # the rows of other tests must not fill the page
        cursor.execute("TRUNCATE async_reply_operation CASCADE")
    operation = services.submit(echo)
    assert lifecycle.claim(operation, worker="w1")
    updates, hot = count()
    for message in (None, "half", None):
        assert lifecycle.beat(operation, progress=1, message=message)
    assert count() == (updates + 3, hot + 3)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("unsaved", "is_new"), [({"message": "Paying"}, True), ({}, False)])
def test_store_step__with_a_message_is_a_new_version(unsaved: dict[str, str], is_new: bool) -> None:
    """Clients that wait are told of the message. A step alone changes nothing that they see."""
    operation = services.submit(echo)
    assert lifecycle.claim(operation, worker="w")
    before = Operation.objects.get(pk=operation.pk)
    assert lifecycle.store_step(operation, unsaved=unsaved)
    after_step = Operation.objects.get(pk=operation.pk)
    assert (after_step.version > before.version, after_step.message) == (
        is_new,
        unsaved.get("message", ""),
    )


@pytest.mark.django_db
def test_move__refuses_a_transition_without_an_arrow() -> None:
    with pytest.raises(ValueError, match="No arrow"):
        lifecycle._move(operation_in(Status.FAILED), Status.RUNNING, {"status": Status.FAILED})


def lines_that_write_status(tree: ast.AST) -> Iterator[int]:
    """Numbers of the lines that assign a value to `status`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            texts = {getattr(argument, "value", None) for argument in node.args}
            keywords = {keyword.arg for keyword in node.keywords}
            if name in WRITERS and "status" in keywords | texts:
                yield node.lineno
        elif isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            # A target may be a tuple.
            parts = (part for target in targets for part in ast.walk(target))
            if any(isinstance(part, ast.Attribute) and part.attr == "status" for part in parts):
                yield node.lineno


def test_source__only_lifecycle_writes_status() -> None:
    # The status in the client's errors, and in the ledger of webhooks, is that of an answer.
    others = {"migrations", "client", "webhooks"}
    names = {
        path.name
        for path in PACKAGE.rglob("*.py")
        if others.isdisjoint(path.parts) and [*lines_that_write_status(ast.parse(path.read_text()))]
    }
    assert names == {"lifecycle.py"}


@pytest.mark.parametrize(
    "source",
    [
        "operation.status = 1",
        "row.status, row.worker = 1, ''",
        "rows.update(status=1)",
        'setattr(row, "status", 1)',
    ],
)
def test_source__write_of_a_status_is_found(source: str) -> None:
    assert list(lines_that_write_status(ast.parse(source))) == [1]
