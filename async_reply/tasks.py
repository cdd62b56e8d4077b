"""Celery's side: a task is a shell around the runner."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn, overload
from uuid import UUID

from celery import Task, current_app, shared_task
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded

from async_reply import runner
from async_reply.exceptions import NotCalledThisWay, UnknownKind
from async_reply.kinds import Function, Kind
from async_reply.runner import Ending, Report

OWN_OPTIONS = frozenset(Kind.__dataclass_fields__) - {"name", "function", "timeouts"}
REFUSED_OPTIONS = {
    "bind": "the job's first parameter is the operation",
    "acks_late": "messages are acknowledged early, since the row brings a lost job back",
    "reject_on_worker_lost": "the row brings a lost job back",
}

# Seconds between the time limit, which a job hears of at its next call, and Celery's own, which
# kills its process.
GRACE = 3

# What Celery does not take for the failure of a task.
ORDERS = (Ignore, MemoryError, Reject, Retry)

# Kinds by name, with the functions of those that were registered more than once.
registered: dict[str, list[Function]] = {}


class OperationTask(Task):  # type: ignore[type-arg]
    """A Celery task that runs the operation whose id is its task id."""

    abstract = True
    kind: Kind
    #: What stands for a message in the worker's main process.
    Request = "async_reply.workers:OperationRequest"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The plain function when called like one, the worker's shell otherwise."""
        if args or kwargs or self.request.called_directly:
            return self.kind.function(*args, **kwargs)
        self.execute()
        return None

    def execute(self) -> None:
        """Run the operation and tell Celery the truth about it."""
        report = self.perform(
            UUID(self.request.id),
            worker=process_name(self.request.hostname or "", os.getpid()),
            inline=bool(self.request.is_eager),
        )
        if report.ending is Ending.SUCCEEDED:
            return
        if report.ending is not Ending.FAILED:
            raise Ignore
        if isinstance(report.error, Exception) and not isinstance(report.error, ORDERS):
            raise report.error
        # Raised as it is, it would be an order to the worker: to end, or to take the message back.
        raise RuntimeError(f"The job raised {report.error!r}.") from report.error

    def perform(self, pk: UUID, *, worker: str, inline: bool) -> Report:
        """One attempt at the operation, without Celery."""
        return runner.run(pk, self.kind, worker=worker, inline=inline)

    def delay(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        self.apply_async()

    def apply_async(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise NotCalledThisWay(
            f"{self.name} is an operation: start it with services.submit(task, input={{…}}), "
            "which stores the row that a client can poll."
        )


@overload
def operation_task(function: Function, /) -> OperationTask: ...


@overload
def operation_task(**options: Any) -> Callable[[Function], OperationTask]: ...


def operation_task(*positional: Function, **options: Any) -> Any:
    """Make a Celery task of a function whose first parameter is `operation`.

    Own options: `name`, `aliases`, `max_retries`, `autoretry_for`, `dont_autoretry_for`,
    `retry_backoff`, `retry_backoff_max`, `retry_jitter`, `default_retry_delay`, `max_losses`,
    `time_limit` and `retention` (seconds), `queue`, `priority`, `cancel`. Others go to Celery;
    `bind`, `acks_late` and `reject_on_worker_lost` raise TypeError.
    """
    if positional:
        return _register(positional[0], {})
    return partial(_register, options=options)


def _register(function: Function, options: dict[str, Any]) -> OperationTask:
    for option in REFUSED_OPTIONS.keys() & options:
        raise TypeError(f"operation_task takes no {option}: {REFUSED_OPTIONS[option]}.")
    options = dict(options)
    name = options.pop("name", None) or _default_name(function)
    aliases = options.pop("aliases", ())
    own = {key: options.pop(key) for key in OWN_OPTIONS & options.keys()}
    for key in ("autoretry_for", "dont_autoretry_for"):
        own[key] = tuple(own.get(key, ()))
    kind = Kind(name=name, function=function, timeouts=(SoftTimeLimitExceeded,), **own)
    tasks = [_share(kind, name=one, options=options) for one in (name, *aliases)]
    return tasks[0]


def _share(kind: Kind, *, name: str, options: dict[str, Any]) -> OperationTask:
    registered.setdefault(name, []).append(kind.function)
    make: Callable[..., Any] = shared_task(
        name=name,
        base=OperationTask,
        kind=kind,
        time_limit=kind.time_limit + GRACE,
        ignore_result=True,
        store_errors_even_if_ignored=True,
        **options,
    )
    task: OperationTask = make(kind.function)
    return task


def process_name(worker: str, pid: int) -> str:
    """How a row names the process that runs it: the worker's node name and a process id."""
    return f"{worker[:240]}/{pid}"


def _default_name(function: Function) -> str:
    """`reports.export_report` for `export_report` of `reports.tasks`."""
    return f"{function.__module__.removesuffix('.tasks')}.{function.__name__}"


def get_task(kind: str) -> OperationTask:
    """The task registered under the name `kind`; raises UnknownKind."""
    task = current_app.tasks.get(kind)
    if not isinstance(task, OperationTask):
        raise UnknownKind(f"No operation task is called {kind!r}: is its module imported?")
    return task
