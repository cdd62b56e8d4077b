"""A process that cannot use the database ends. While the database is away, a process waits."""

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
from async_reply.attempts.kinds import Kind
from async_reply.attempts.reports import Ending
from async_reply.exceptions import DatabaseAway
from async_reply.models import Operation
from async_reply.status import Status
from tests.project.tasks import echo


class Aborted(Exception):
    """A driver's error in an aborted transaction of PostgreSQL."""

    sqlstate = "25P02"


def aborted() -> InternalError:
    error = InternalError("current transaction is aborted")
    error.__cause__ = Aborted()
    return error


#: Errors of a claim or a finish that only this process meets.
OWN = [
    ProgrammingError("relation does not exist"),
    aborted(),
    TransactionManagementError("the transaction is broken"),
    DataError("no such value"),
    SynchronousOnlyOperation("from an async context"),
    RuntimeError("can't start new thread"),
]
#: Errors that all processes would meet.
COMMON = [
    OperationalError("server closed the connection"),
    InterfaceError("connection is closed"),
    DatabaseAway("left to the rescue"),
    ProgrammingError('relation "async_reply_operation" does not exist'),
]


@pytest.mark.parametrize("error", OWN, ids=lambda error: type(error).__name__)
def test_is_unusable__after_errors_that_other_processes_do_not_meet(error: Exception) -> None:
    assert processes.is_unusable(error)


@pytest.mark.parametrize("error", COMMON, ids=lambda error: type(error).__name__)
def test_is_unusable__not_while_the_database_is_away(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not processes.is_unusable(error)
    monkeypatch.setattr(surroundings, "is_out_of_descriptors", lambda: True)
    assert processes.is_unusable(error)


def execute(operation: Operation) -> None:
    """Run the task as a worker of any pool does."""
    echo.push_request(id=str(operation.pk), hostname="w1")
    try:
        echo.execute()
    finally:
        echo.pop_request()


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    return sent


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", OWN, ids=lambda error: type(error).__name__)
def test_execute__hands_back_and_ends_the_process_when_no_claim_works(
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
def test_run__tries_once_more_in_a_new_session(
    name: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier job may have left `search_path`, a role or a read-only session."""
    function, old_sessions = getattr(lifecycle, name), [connection.connection]

    def fail_in_the_old_session(*arguments: Any, **options: Any) -> Any:
        if connection.connection in old_sessions:
            raise error
        return function(*arguments, **options)

    operation = services.submit(echo)
    connection.ensure_connection()
    old_sessions[:] = [connection.connection]
    monkeypatch.setattr(lifecycle, name, fail_in_the_old_session)
    if name == "succeed":
        monkeypatch.setattr(
            lifecycle, "fail", lambda *_, **__: pytest.fail("the job has succeeded")
        )
    assert runner.run(operation.pk, echo.kind, worker="w").ending is Ending.SUCCEEDED


@pytest.mark.django_db(transaction=True)
def test_execute__keeps_the_process_while_the_database_is_away(
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
def test_end_forked_child__exits_as_python_would(error: BaseException | None, status: int) -> None:
    parent = os.getpid()
    child = os.fork()
    if not child:
        processes.end_forked_child(parent, error)
        os._exit(99)
    assert os.waitpid(child, 0)[1] >> 8 == status
    processes.end_forked_child(parent, error)


@pytest.mark.django_db(transaction=True)
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("where", ["job", "on_finish", "input"])
@pytest.mark.parametrize("inline", [False, True])
def test_run__forked_child_ends_with_the_job(where: str, inline: bool) -> None:
    """The job, its callbacks and the reading of its input may fork."""
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

    parent, operation = os.getpid(), services.submit(echo)
    report = runner.run(operation.pk, Kind(name=echo.name, function=job), worker="w", inline=inline)
    if os.getpid() != parent:
        os._exit(1)
    operation.refresh_from_db()
    assert (report.ending, operation.result.value) == (Ending.SUCCEEDED, "parent")
