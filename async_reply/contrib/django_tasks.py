"""A backend for `django.tasks` (Django 6.0): each task is a kind, and each enqueue an operation.

    TASKS = {"default": {"BACKEND": "async_reply.contrib.django_tasks.OperationBackend"}}

A task's kind has the path of its function as its name. `OPTIONS` are options of `operation_task`,
for all kinds of the backend. The queue "default" is Celery's default queue.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from django.core.exceptions import ValidationError
from django.tasks import DEFAULT_TASK_QUEUE_NAME, Task, TaskContext, TaskResult, TaskResultStatus
from django.tasks.backends.base import BaseTaskBackend
from django.tasks.base import TaskError
from django.tasks.exceptions import TaskResultDoesNotExist
from django.tasks.signals import task_enqueued, task_finished, task_started
from django.utils.json import normalize_json
from django.utils.module_loading import import_string

from async_reply import services
from async_reply.attempts.jobs import Job
from async_reply.models import Operation
from async_reply.status import Status
from async_reply.tasks import OperationTask, operation_task

STATUSES = {
    Status.PENDING: TaskResultStatus.READY,
    Status.RUNNING: TaskResultStatus.RUNNING,
    Status.CANCELING: TaskResultStatus.RUNNING,
    Status.SUCCEEDED: TaskResultStatus.SUCCESSFUL,
    Status.FAILED: TaskResultStatus.FAILED,
    Status.CANCELED: TaskResultStatus.FAILED,
}
AnyTask: TypeAlias = "Task[..., Any]"
AnyResult: TypeAlias = "TaskResult[..., Any]"
#: Path of a function -> the kind that runs it.
_kinds: dict[str, OperationTask[..., Any]] = {}


class OperationBackend(BaseTaskBackend):
    """Stores an operation for each enqueued task; the operation's id is the id of the result.

    `enqueue` in a transaction is sent after its commit, and not at all if it is rolled back.
    """

    supports_async_task = True
    supports_defer = True
    supports_get_result = True

    def validate_task(self, task: AnyTask) -> None:
        """Make the task's kind. Raises InvalidTask. Django calls it where a task is made."""
        super().validate_task(task)
        if task.module_path not in _kinds:
            _kinds[task.module_path] = operation_task(
                name=task.module_path, queue=_queue(task), **self.options
            )(_make_job(task.module_path, backend=type(self)))

    def enqueue(  # type: ignore[override]
        self, task: AnyTask, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> AnyResult:
        """Submit an operation. Raises TypeError for arguments that JSON does not have."""
        self.validate_task(task)
        kind = _kinds[task.module_path]
        operation = services.submit(
            kind,
            input={"args": normalize_json(list(args)), "kwargs": normalize_json(dict(kwargs))},
            available_at=task.run_after,
            perform=None if _queue(task) == kind.kind.queue else partial(_move, queue=_queue(task)),
        )
        operation.refresh_from_db()
        result = _to_result(operation, task)
        task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> AnyResult:
        """The result of an operation that this backend submitted, with its attempts.

        Raises TaskResultDoesNotExist for another id, and after the operation was deleted or purged.
        """
        try:
            operation = Operation.objects.get(pk=result_id, deleted_at=None)
            # This process may not have imported the task's module yet. The import makes its kind.
            task = import_string(operation.kind)
        except (Operation.DoesNotExist, ValidationError, ImportError) as error:
            raise TaskResultDoesNotExist(result_id) from error
        if operation.kind not in _kinds:
            raise TaskResultDoesNotExist(result_id)
        return _to_result(operation, task)


def _make_job(path: str, *, backend: type) -> Callable[..., Any]:
    """The function of a kind: it calls the task's, between Django's two signals.

    The outcome is stored after the signal of the end.
    """

    def run(operation: Job, *, args: list[Any], kwargs: dict[str, Any]) -> Any:
        task: AnyTask = import_string(path)
        result = _to_result(Operation.objects.get(pk=operation.id), task)
        task_started.send(backend, task_result=result)
        context: list[Any] = [TaskContext(task_result=result)] if task.takes_context else []
        try:
            value = normalize_json(task.call(*context, *args, **kwargs))
        except Exception:
            object.__setattr__(result, "status", TaskResultStatus.FAILED)
            task_finished.send(backend, task_result=result)
            raise
        object.__setattr__(result, "status", TaskResultStatus.SUCCESSFUL)
        object.__setattr__(result, "_return_value", value)
        task_finished.send(backend, task_result=result)
        return value

    run.__module__, _dot, run.__name__ = path.rpartition(".")
    return run


def _move(operation: Operation, *, queue: str) -> None:
    """Send the operation to another queue than its kind's: `task.using(queue_name=…)`."""
    operation.queue = queue
    operation.save(update_fields=["queue"])


def _queue(task: AnyTask) -> str:
    return "" if task.queue_name == DEFAULT_TASK_QUEUE_NAME else task.queue_name


def _to_result(operation: Operation, task: AnyTask) -> AnyResult:
    attempts = list(operation.attempts.order_by("number"))
    workers = [attempt.worker for attempt in attempts]
    is_listed = bool(attempts) and attempts[-1].number == operation.attempt
    if operation.attempt and not is_listed:
        workers.append(operation.worker)
    result: AnyResult = TaskResult(
        task=task,
        id=str(operation.pk),
        status=STATUSES[Status(operation.status)],
        enqueued_at=operation.created_at,
        started_at=attempts[0].started_at if attempts else operation.started_at,
        finished_at=operation.finished_at,
        last_attempted_at=attempts[-1].started_at if is_listed else operation.started_at,
        args=operation.input["args"],
        kwargs=operation.input["kwargs"],
        backend=task.backend,
        errors=[
            TaskError(exception_class_path=attempt.exception, traceback=attempt.traceback)
            for attempt in attempts
            if attempt.exception
        ],
        worker_ids=workers,
    )
    if operation.status == Status.SUCCEEDED:
        object.__setattr__(result, "_return_value", operation.result.value)
    return result
