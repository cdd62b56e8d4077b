"""Tasks of Django are operations: tests/contrib/some_tasks.py has them."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from django.utils import timezone

pytest.importorskip("django.tasks", reason="needs Django 6.0")

from django.tasks import TaskResultStatus, default_task_backend
from django.tasks.exceptions import InvalidTask, TaskResultDoesNotExist, TaskResultMismatch
from django.tasks.signals import task_enqueued, task_finished, task_started

from async_reply import services
from async_reply.contrib import django_tasks
from async_reply.models import Operation
from async_reply.status import Status
from async_reply.testing import run_operations
from tests.contrib import some_tasks
from tests.project.tasks import echo

pytestmark = pytest.mark.django_db


def test_enqueue__is_an_operation_of_its_own_kind() -> None:
    result = some_tasks.add.enqueue(2, more=3)
    operation = Operation.objects.get(pk=result.id)
    assert operation.kind == "tests.contrib.some_tasks.add"
    assert (result.status, result.attempts) == (TaskResultStatus.READY, 0)
    assert result.enqueued_at == operation.created_at
    assert (result.args, result.kwargs) == ([2], {"more": 3})
    with pytest.raises(ValueError, match="not finished"):
        result.return_value  # noqa: B018
    run_operations()
    result.refresh()
    assert (result.status, result.return_value) == (TaskResultStatus.SUCCESSFUL, 5)
    assert result.attempts == 1
    assert result.started_at is not None
    assert result.finished_at is not None


@pytest.mark.django_db(transaction=True)
def test_enqueue__follows_the_callers_transaction(broker: list[str]) -> None:
    with transaction.atomic():
        result = some_tasks.add.enqueue(1)
        assert broker == []
    assert broker == [result.id]
    with transaction.atomic():
        lost = some_tasks.add.enqueue(1)
        transaction.set_rollback(True)
    assert broker == [result.id]
    with pytest.raises(TaskResultDoesNotExist):
        some_tasks.add.get_result(lost.id)


def test_run_after__is_not_due_before() -> None:
    later = timezone.now() + timedelta(hours=1)
    result = some_tasks.add.using(run_after=later).enqueue(1)
    assert Operation.objects.get(pk=result.id).available_at == later
    assert run_operations() == []


def test_using__another_queue_moves_this_operation_alone() -> None:
    moved = some_tasks.add.using(queue_name="reports").enqueue(1)
    plain = some_tasks.add.enqueue(1)
    queues = Operation.objects.in_bulk([moved.id, plain.id])
    assert {str(pk): row.queue for pk, row in queues.items()} == {moved.id: "reports", plain.id: ""}
    assert Operation.objects.get(pk=some_tasks.report.enqueue().id).queue == "reports"


def test_failure__has_the_exception_and_each_attempt() -> None:
    result = some_tasks.fail.enqueue()
    run_operations()
    result.refresh()
    assert result.status == TaskResultStatus.FAILED
    [error] = result.errors
    assert error.exception_class is ZeroDivisionError
    assert "division by zero" in error.traceback
    assert len(result.worker_ids) == result.attempts == 1
    with pytest.raises(ValueError, match="Task failed"):
        result.return_value  # noqa: B018


def test_options__retry_and_the_context_counts_attempts() -> None:
    result = some_tasks.fail_once.enqueue()
    run_operations(advance=True)
    result.refresh()
    assert (result.status, result.return_value) == (TaskResultStatus.SUCCESSFUL, 2)
    assert [error.exception_class for error in result.errors] == [ConnectionError]
    assert len(result.worker_ids) == 2


def test_coroutine__is_awaited() -> None:
    result = some_tasks.add_later.enqueue(1, 2)
    run_operations()
    value: Any = some_tasks.add_later.get_result(result.id).return_value
    assert value == 3


def test_cancel__is_a_failure_without_an_error() -> None:
    result = some_tasks.add.enqueue(1)
    assert services.cancel(Operation.objects.get(pk=result.id)) == Status.CANCELED
    result.refresh()
    assert (result.status, result.errors) == (TaskResultStatus.FAILED, [])


def test_signals__tell_what_happens() -> None:
    heard: list[Any] = []

    def hear(signal: Any, task_result: Any, **_kwargs: Any) -> None:
        heard.append((signal, task_result.id, task_result.status))

    for signal in (task_enqueued, task_started, task_finished):
        signal.connect(hear)
    try:
        added, failed = some_tasks.add.enqueue(1), some_tasks.fail.enqueue()
        run_operations()
    finally:
        for signal in (task_enqueued, task_started, task_finished):
            signal.disconnect(hear)
    assert heard == [
        (task_enqueued, added.id, TaskResultStatus.READY),
        (task_enqueued, failed.id, TaskResultStatus.READY),
        (task_started, added.id, TaskResultStatus.RUNNING),
        (task_finished, added.id, TaskResultStatus.SUCCESSFUL),
        (task_started, failed.id, TaskResultStatus.RUNNING),
        (task_finished, failed.id, TaskResultStatus.FAILED),
    ]


@pytest.mark.parametrize("arguments", [[object()], [{1, 2}]])
def test_enqueue__what_json_does_not_have_is_refused(arguments: list[Any]) -> None:
    with pytest.raises(TypeError):
        some_tasks.add.enqueue(*arguments)
    assert not Operation.objects.exists()


def test_using__what_cannot_run_is_refused() -> None:
    with pytest.raises(InvalidTask, match="Queue 'gpu'"):
        some_tasks.add.using(queue_name="gpu")
    with pytest.raises(InvalidTask, match="priority"):
        some_tasks.add.using(priority=5)


@pytest.mark.parametrize("result_id", ["", "0", "x" * 40, str(UUID(int=7))])
def test_get_result__of_an_unknown_id(result_id: str) -> None:
    with pytest.raises(TaskResultDoesNotExist):
        some_tasks.add.get_result(result_id)


def test_get_result__of_other_tasks_and_operations() -> None:
    foreign = services.submit(echo)
    with pytest.raises(TaskResultDoesNotExist):
        some_tasks.add.get_result(str(foreign.pk))
    with pytest.raises(TaskResultMismatch):
        some_tasks.add.get_result(some_tasks.fail.enqueue().id)


def test_get_result__after_a_delete() -> None:
    result = some_tasks.add.enqueue(1)
    run_operations()
    services.delete(Operation.objects.get(pk=result.id))
    with pytest.raises(TaskResultDoesNotExist):
        result.refresh()


def test_get_result__imports_the_module_of_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has only the id: the import of the module makes the kind."""
    result = some_tasks.add.enqueue(1)
    path = some_tasks.add.module_path
    kind = django_tasks._kinds[path]
    monkeypatch.delitem(django_tasks._kinds, path)

    def import_task(name: str) -> Any:
        django_tasks._kinds[name] = kind
        return some_tasks.add

    monkeypatch.setattr(django_tasks, "import_string", import_task)
    assert default_task_backend.get_result(result.id).status == TaskResultStatus.READY
