"""Messages that no operation sent: an old deploy or any client of the broker may send them."""

from typing import Any

import pytest
from celery.exceptions import Ignore

from async_reply import lifecycle, services, tasks
from async_reply.attempts import runner
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.attempts.reports import Ending, Report
from async_reply.models import Operation
from async_reply.status import Status
from async_reply.tasks import OperationTask, operation_task
from tests.project.tasks import break_down, echo

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("one_statement")]


@operation_task(name="tests.messages.new", aliases=["tests.messages.old"])
def renamed(operation: Job) -> str:
    return "done"


@operation_task(name="tests.messages.recursive")
def recursive(operation: Job, *, depth: int) -> int:
    return 1 + recursive(operation, depth=depth - 1) if depth else 0


def receive(task: OperationTask[..., Any], row: Operation, /, *args: Any, **kwargs: Any) -> Any:
    """Call the task as a worker does for a message."""
    task.push_request(
        id=str(row.pk), args=args, kwargs=kwargs, called_directly=False, is_eager=True
    )
    try:
        return task(*args, **kwargs)
    finally:
        task.pop_request()


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((7,), {}), ((), {"year": 2024}), ((None,), {}), (({},), {"a": 1}), ((), {"operation": 7})],
)
def test_message__with_arguments_runs_nothing(
    args: tuple[Any, ...], kwargs: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    operation = services.submit(echo)
    with pytest.raises(Ignore):
        receive(echo, operation, *args, **kwargs)
    assert [record.levelname for record in caplog.records if "arguments" in record.message] == [
        "ERROR"
    ]
    operation.refresh_from_db()
    assert (operation.status, operation.attempt) == (Status.PENDING, 0)


def test_message__of_another_kind_runs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A function must not run with the input of another kind. The row waits for its own message."""
    operation = services.submit(echo, input={"a": 1})
    with pytest.raises(Ignore):
        receive(break_down, operation)
    operation.refresh_from_db()
    assert (operation.status, operation.attempt) == (Status.PENDING, 0)
    assert [
        (record.levelname, break_down.name in record.message)
        for record in caplog.records
        if "not claimed for" in record.message
    ] == [("WARNING", True)]
    receive(echo, operation)
    operation.refresh_from_db()
    assert operation.status == Status.SUCCEEDED


@pytest.mark.parametrize("name", ["tests.messages.new", "tests.messages.old"])
def test_message__of_an_alias_runs_operations_submitted_by_it(name: str) -> None:
    operation = services.submit(tasks.get_task(name))
    assert operation.kind == name
    receive(tasks.get_task(name), operation)
    operation.refresh_from_db()
    assert operation.status == Status.SUCCEEDED


def test_task__called_by_its_own_job_is_a_plain_function() -> None:
    operation = services.submit(recursive, input={"depth": 2})
    receive(recursive, operation)
    operation.refresh_from_db()
    assert operation.result.value == 2


@pytest.mark.parametrize("kind", ["tests.other", "", echo.name.upper()])
def test_claim_unread__does_not_claim_another_kind(kind: str) -> None:
    operation = services.submit(echo)
    assert lifecycle.claim_unread(operation.pk, worker="w", kind=kind) is None
    assert lifecycle.claim_unread(operation.pk, worker="w", kind=echo.name) is not None


def test_run__does_not_run_another_kind() -> None:
    operation = services.submit(echo)
    kind = Kind(name="tests.other", function=lambda operation: 7)
    assert runner.run(operation.pk, kind, worker="w", inline=True) == Report(Ending.NOT_MINE)
