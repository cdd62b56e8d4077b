"""A process that cannot use the database ends; one beside a database that is away waits."""

import os
import signal
from typing import Any

import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.db import (
    DataError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
    connection,
)
from django.db.transaction import TransactionManagementError
from django.utils import timezone

from async_reply import lifecycle, services
from async_reply.attempts import processes, runner, surroundings
from async_reply.attempts.runner import Ending
from async_reply.exceptions import DatabaseAway
from async_reply.models import Operation
from async_reply.status import Status
from tests.project.tasks import echo


class Aborted(Exception):
    """As a driver of PostgreSQL tells of it."""

    sqlstate = "25P02"


def aborted() -> InternalError:
    error = InternalError("current transaction is aborted")
    error.__cause__ = Aborted()
    return error


#: Errors of a claim, and of storing an outcome, that say nothing about the database.
OWN = [
    ProgrammingError("relation does not exist"),
    aborted(),
    TransactionManagementError("the transaction is broken"),
    DataError("no such value"),
    SynchronousOnlyOperation("from an async context"),
    RuntimeError("can't start new thread"),
]
#: Errors that each process would meet.
COMMON = [
    OperationalError("server closed the connection"),
    InterfaceError("connection is closed"),
    DatabaseAway("left to the rescue"),
    ProgrammingError('relation "async_reply_operation" does not exist'),
]


@pytest.mark.parametrize("error", OWN, ids=lambda error: type(error).__name__)
def test_is_at_fault__by_what_others_do_not_meet(error: Exception) -> None:
    assert processes.is_at_fault(error)


@pytest.mark.parametrize("error", COMMON, ids=lambda error: type(error).__name__)
def test_is_at_fault__not_beside_a_database_that_is_away(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not processes.is_at_fault(error)
    monkeypatch.setattr(surroundings, "is_starved", lambda: True)
    assert processes.is_at_fault(error)


def execute(operation: Operation) -> None:
    """As a worker does, of whichever pool."""
    echo.push_request(id=str(operation.pk), hostname="w1")
    try:
        echo.execute()
    finally:
        echo.pop_request()


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *sending: sent.append(sending))
    return sent


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", OWN, ids=lambda error: type(error).__name__)
def test_execute__claim_that_fails_for_good_hands_the_message_back_and_ends(
    error: Exception, monkeypatch: pytest.MonkeyPatch, signals: list[tuple[int, int]]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    operation = services.submit(echo)
    Operation.objects.update(published_at=timezone.now())
    monkeypatch.setattr(lifecycle, "claim_unread", fail)
    with pytest.raises(RuntimeError, match=type(error).__name__):
        execute(operation)
    operation.refresh_from_db()
    assert (operation.status, operation.published_at) == (Status.PENDING, None)
    assert signals == [(os.getpid(), signal.SIGTERM)]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", OWN[:3], ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("name", ["claim_unread", "succeed"])
def test_run__is_tried_once_more_in_a_new_session(
    name: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`search_path`, SET ROLE, a read-only session: whatever was left behind Django's back."""
    function, spoiled = getattr(lifecycle, name), [connection.connection]

    def fail_in_the_old_session(*arguments: Any, **options: Any) -> Any:
        if connection.connection in spoiled:
            raise error
        return function(*arguments, **options)

    operation = services.submit(echo)
    connection.ensure_connection()
    spoiled[:] = [connection.connection]
    monkeypatch.setattr(lifecycle, name, fail_in_the_old_session)
    if name == "succeed":
        monkeypatch.setattr(lifecycle, "fail", lambda *_, **__: pytest.fail("it did succeed"))
    assert runner.run(operation.pk, echo.kind, worker="w").ending is Ending.SUCCEEDED


@pytest.mark.django_db(transaction=True)
def test_execute__database_that_is_away_keeps_the_process(
    monkeypatch: pytest.MonkeyPatch, signals: list[tuple[int, int]]
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise DatabaseAway("for a lease")

    operation = services.submit(echo)
    monkeypatch.setattr(runner, "run", away)
    with pytest.raises(RuntimeError, match="DatabaseAway"):
        execute(operation)
    assert signals == []


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, 0),
        (ZeroDivisionError(), 1),
        (KeyboardInterrupt(), 1),
        (SystemExit(7), 7),
        (SystemExit(None), 0),
        (SystemExit("why"), 1),
    ],
    ids=repr,
)
def test_end_child__ends_as_python_would(error: BaseException | None, status: int) -> None:
    parent = os.getpid()
    child = os.fork()
    if not child:
        processes.end_child(parent, error)
        os._exit(99)
    assert os.waitpid(child, 0)[1] >> 8 == status
    processes.end_child(parent, error)


@pytest.mark.django_db(transaction=True)
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("where", ["job", "on_finish", "input"])
@pytest.mark.parametrize("inline", [False, True])
def test_run__child_that_a_job_forks_ends_where_the_job_does(where: str, inline: bool) -> None:
    """Whatever of the project runs between claim and finish may fork."""
    if connection.vendor != "sqlite":
        pytest.skip("a child and its parent would share one session")
    children: list[int] = []

    def fork() -> None:
        children.append(os.fork())
        if children[-1]:
            os.waitpid(children[-1], 0)

    def job(operation: Any) -> str:
        if where == "on_finish":
            operation.on_finish(fork)
        else:
            fork()
        if where == "input" and not children[-1]:
            operation.progress(50)
            raise ZeroDivisionError
        return "parent" if where == "on_finish" or children[-1] else "child"

    from async_reply.attempts.kinds import Kind

    parent, operation = os.getpid(), services.submit(echo)
    report = runner.run(operation.pk, Kind(name=echo.name, function=job), worker="w", inline=inline)
    if os.getpid() != parent:
        os._exit(1)
    operation.refresh_from_db()
    assert (report.ending, operation.result.value) == (Ending.SUCCEEDED, "parent")
