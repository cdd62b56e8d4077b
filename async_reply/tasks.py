"""Celery's side: a task is a shell around the runner; the worker's maintenance thread."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn, overload
from uuid import UUID

from celery import Task, current_app, shared_task, signals
from celery.exceptions import Ignore, SoftTimeLimitExceeded

from async_reply import lifecycle, maintenance, relay, retention, runner
from async_reply.exceptions import NotCalledThisWay, UnknownKind
from async_reply.kinds import Function, Kind
from async_reply.maintenance import Maintenance, Step
from async_reply.models import Operation
from async_reply.runner import Ending, Report

OWN_OPTIONS = frozenset(Kind.__dataclass_fields__) - {"name", "function", "timeouts"}
REFUSED_OPTIONS = {
    "bind": "the job's first parameter is the operation",
    "acks_late": "messages are acknowledged early, since the row brings a lost job back",
    "reject_on_worker_lost": "the row brings a lost job back",
}

# Kinds by name, with the functions of those that were registered more than once.
registered: dict[str, list[Function]] = {}


class OperationTask(Task):  # type: ignore[type-arg]
    """A Celery task that runs the operation whose id is its task id."""

    abstract = True
    kind: Kind

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
            worker=self.request.hostname or "",
            inline=bool(self.request.is_eager),
        )
        if report.ending is Ending.FAILED and isinstance(report.error, Exception):
            raise report.error
        if report.ending is Ending.FAILED:
            # Raised as it is, SystemExit would end the worker and not the job.
            raise RuntimeError(f"The job raised {report.error!r}.") from report.error
        if report.ending is not Ending.SUCCEEDED:
            raise Ignore

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
    `time_limit` (seconds), `cancel`. Others go to Celery; `bind`, `acks_late` and
    `reject_on_worker_lost` raise TypeError.
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
        time_limit=kind.time_limit,
        ignore_result=True,
        store_errors_even_if_ignored=True,
        **options,
    )
    task: OperationTask = make(kind.function)
    return task


def _default_name(function: Function) -> str:
    """`reports.export_report` for `export_report` of `reports.tasks`."""
    return f"{function.__module__.removesuffix('.tasks')}.{function.__name__}"


def get_task(kind: str) -> OperationTask:
    """The task registered under the name `kind`; raises UnknownKind."""
    task = current_app.tasks.get(kind)
    if not isinstance(task, OperationTask):
        raise UnknownKind(f"No operation task is called {kind!r}: is its module imported?")
    return task


def steps() -> list[Step]:
    """What maintenance does in each worker."""
    return [
        Step("relay", 1, relay.publish_due, drains=True),
        Step("republish", 5, relay.republish_lost),
        Step("rescue", 5, maintenance.rescue, rescues=True),
        Step("purge", 60, retention.purge, drains=True),
    ]


_thread: Maintenance | None = None
_starting = threading.Lock()


@signals.worker_ready.connect
def start_maintenance(sender: Any = None, **_kwargs: Any) -> None:
    """Start the thread once the worker is connected."""
    global _thread
    report = Step("report", 10, partial(maintenance.report, **_describe(sender)))
    with _starting:
        if _thread is None:
            _thread = Maintenance([*steps(), report])
            _thread.start()


@signals.worker_shutdown.connect
def stop_maintenance(**_kwargs: Any) -> None:
    """Let the thread end its turn."""
    global _thread
    with _starting:
        if _thread is not None:
            _thread.stop()
            _thread = None


@signals.task_revoked.connect
def cancel_revoked(request: Any = None, **_kwargs: Any) -> None:
    """Revoking in flower or by Celery's control cancels the operation."""
    operation = _operation_of(getattr(request, "task", ""), getattr(request, "id", ""))
    # Once more, since the first try may meet the claim.
    for _ in range(2):
        if operation is None or lifecycle.cancel(operation):
            break
        operation.refresh_from_db(fields=["status"])


@signals.task_unknown.connect
def reject_unknown(name: str = "", id: str = "", **_kwargs: Any) -> None:
    """A kind this worker does not know stays pending for an hour: a deploy may be on its way."""
    operation = _operation_of(name, id)
    if operation is not None:
        lifecycle.reject(operation)


def _operation_of(name: str, task_id: str) -> Operation | None:
    """The operation a message speaks of; Celery's signals come for foreign tasks as well."""
    try:
        pk = UUID(task_id)
    except (AttributeError, TypeError, ValueError):
        return None
    return Operation.objects.filter(pk=pk, kind=name).first()


def _describe(consumer: Any) -> dict[str, Any]:
    """Name, concurrency and queues of the worker that `worker_ready` speaks of."""
    queues = list(current_app.amqp.queues.consume_from)
    concurrency = getattr(getattr(consumer, "controller", None), "concurrency", 0)
    return {
        "name": getattr(consumer, "hostname", "") or "worker",
        "concurrency": int(concurrency or 0),
        "queues": queues,
    }
