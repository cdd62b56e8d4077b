"""`@operation_task`: makes a Celery task of a job's function.

The task is a shell. A message carries an operation's id, and the task hands it to the runner.
"""

import difflib
import os
import secrets
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import cache, partial
from typing import Any, Concatenate, Generic, NoReturn, ParamSpec, TypeVar, overload
from uuid import UUID

from celery import Task, current_app, shared_task
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded

from async_reply.attempts import compensation, interrupts, processes, runner
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import REFUSED, Cancel, Exceptions, Function, Kind, to_exceptions
from async_reply.attempts.reports import Ending, Report
from async_reply.exceptions import (
    DatabaseAway,
    NotCalledThisWay,
    OperationFailed,
    UnknownKind,
)
from async_reply.logs import logger
from async_reply.publishing import relay

P = ParamSpec("P")
R = TypeVar("R")

OWN_OPTIONS = frozenset(Kind.__dataclass_fields__) - {"name", "function", "timeouts"}
# Seconds from a kind's time limit, of which the job hears at its next call, to the time when Celery
# kills the process.
KILL_DELAY_SECONDS = 3

# Exceptions by which a task gives Celery an order. Celery does not take them for a failure.
CELERY_ORDERS = (Ignore, MemoryError, Reject, Retry)

# Tells workers apart. A worker's main process makes it before it forks, for all its children.
BOOT_ID = secrets.token_hex(4)

# The functions registered under each kind's name. A check reports kinds with more than one.
registered: dict[str, list[Function]] = {}


class OperationTask(Task, Generic[P, R]):  # type: ignore[type-arg]
    """A Celery task that runs the operation whose id is its task id.

    `P` are the function's parameters after `operation`, `R` is what it returns.
    """

    abstract = True
    name: str
    kind: Kind
    #: Celery's class for a message in the worker's main process.
    Request = "async_reply.worker.requests:OperationRequest"

    @overload
    def __call__(self) -> None: ...

    @overload
    def __call__(self, operation: Any, /, *args: P.args, **kwargs: P.kwargs) -> R: ...

    # mypy accepts no implementation for P.
    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[misc]
        """Call the plain function; or run the operation, when a worker calls the task."""
        request = self.request
        if request.called_directly or getattr(request, "is_executing", False):
            return self.kind.function(*args, **kwargs)
        if args or kwargs:
            logger.error(
                "A message for operation id=%s kind=%s has arguments, and is ignored: input comes "
                "from the row alone. Find out who sends such messages.",
                request.id,
                self.name,
            )
            raise Ignore
        # Marks the request: a job may call its own task, and that is a plain call.
        request.update(is_executing=True)
        self.execute()
        return None

    def execute(self) -> None:
        """Run the operation of the current message; raise for Celery when it did not succeed."""
        pk, is_eager = UUID(self.request.id), bool(self.request.is_eager)
        if interrupts.stopping.is_set() and not is_eager:
            # The worker would interrupt the job at once.
            relay.hand_back(pk)
            raise Ignore
        worker = process_name(self.request.hostname or "", os.getpid())
        try:
            report = self.perform(pk, worker=worker, inline=is_eager)
        except (Exception, DatabaseAway) as error:
            if not is_eager and processes.is_unusable(error):
                processes.replace_process(pk, error, hand_back=relay.hand_back)
            raise RuntimeError(f"The attempt did not end: {error!r}.") from error
        if report.ending is Ending.SUCCEEDED:
            return
        if report.ending is not Ending.FAILED:
            raise Ignore
        self.request.update(is_failure_logged=True)
        reported = _error_for_celery(report)
        if reported is report.error:
            raise reported
        raise reported from report.error

    def perform(self, pk: UUID, *, worker: str, inline: bool) -> Report:
        """Run one attempt at the operation, without Celery."""
        return runner.run(pk, self.kind, worker=worker, inline=inline)

    def apply_async(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise NotCalledThisWay(
            f"{self.name} is an operation: start it with services.submit(task, input={{…}}), "
            "which stores the row that a client can poll."
        )

    delay = delay_on_commit = apply_async_on_commit = apply_async

    def apply(self, *args: Any, task_id: str | None = None, **options: Any) -> Any:
        """Run an operation that is stored (task_always_eager); refuse any other call."""
        if task_id is None or args or options.get("args") or options.get("kwargs"):
            self.apply_async()
        return super().apply(task_id=task_id, **options)


def _error_for_celery(report: Report) -> BaseException:
    """The exception that Celery gets for a failed job.

    Celery logs an OperationFailed in one line (`throws`). The runner has logged all others.
    """
    error = report.error
    if report.is_refusal:
        return error if isinstance(error, OperationFailed) else OperationFailed(str(error))
    if isinstance(error, Exception) and not isinstance(error, (OperationFailed, *CELERY_ORDERS)):
        return error
    # Celery would obey `error` as an order: the worker would end, or take the message back.
    return RuntimeError(f"The job raised {error!r}.")


@overload
def operation_task(function: Callable[Concatenate[Job, P], R], /) -> OperationTask[P, R]: ...


@overload
def operation_task(
    *,
    name: str = ...,
    aliases: Collection[str] = ...,
    max_retries: int = ...,
    autoretry_for: Exceptions | type[BaseException] = ...,
    dont_autoretry_for: Exceptions | type[BaseException] = ...,
    retry_backoff: float | bool = ...,
    retry_backoff_max: float | timedelta = ...,
    retry_jitter: bool = ...,
    default_retry_delay: float | timedelta = ...,
    max_losses: int = ...,
    time_limit: int = ...,
    total_time_limit: int | None = ...,
    retention: int | None = ...,
    expected_duration: float | None = ...,
    get_estimate_key: Callable[[Any], object] | None = ...,
    queue: str = ...,
    priority: int | None = ...,
    on_failure: Callable[[Any], object] | None = ...,
    on_cancel: Callable[[Any], object] | None = ...,
    cancel: Cancel = ...,
    asks: Mapping[str, type[Any]] = ...,
    public_logs: bool = ...,
    **options: Any,
) -> Callable[[Callable[Concatenate[Job, P], R]], OperationTask[P, R]]: ...


def operation_task(*positional: Function, **options: Any) -> Any:
    """Make a Celery task of a function whose first parameter is `operation`.

    Own options: `name`, `aliases`, `max_retries`, `autoretry_for`, `dont_autoretry_for`,
    `retry_backoff`, `retry_backoff_max`, `retry_jitter`, `default_retry_delay`, `max_losses`,
    `time_limit`, `total_time_limit` and `retention` (seconds), `queue`, `priority`, `cancel`,
    `expected_duration` (seconds), `get_estimate_key`, `on_failure`, `on_cancel`, `asks`,
    `public_logs`. Celery's own (`rate_limit`, `soft_time_limit`, …) go to Celery.

    Raises TypeError for an unknown option, for an option of Celery that has no meaning here, and
    for a function that cannot be a job; TypeError or ValueError for a value that makes no sense.
    """
    if positional:
        return _register(positional[0], {})
    return partial(_register, options=options)


def _register(function: Function, options: dict[str, Any]) -> OperationTask[..., Any]:
    for option in options:
        _check_option(option)
    options = dict(options)
    name = options.pop("name", None) or _default_name(function)
    aliases = options.pop("aliases", ())
    own_options = {option: options.pop(option) for option in OWN_OPTIONS & options.keys()}
    for option in ("autoretry_for", "dont_autoretry_for"):
        own_options[option] = to_exceptions(option, own_options.get(option, ()))
    kind = Kind(name=name, function=function, timeouts=_timeouts(), **own_options)
    # Celery logs these in one line, and Sentry does not report them.
    options["throws"] = (OperationFailed, *to_exceptions("throws", options.get("throws", ())))
    # Row and message have the name by which the operation was submitted, so each has a task.
    kinds = [replace(kind, name=kind_name) for kind_name in (name, *aliases)]
    tasks = [_share(kind, options=options) for kind in kinds]
    return tasks[0]


def _timeouts() -> Exceptions:
    """Exceptions that Celery's pools raise in a job that runs for too long."""
    gevent = sys.modules.get("gevent")
    return (SoftTimeLimitExceeded,) if gevent is None else (SoftTimeLimitExceeded, gevent.Timeout)


def _check_option(option: str) -> None:
    """Raise TypeError for a refused or unknown option, such as a misspelt `max_losses`."""
    if option in REFUSED:
        raise TypeError(f"operation_task takes no {option}: {REFUSED[option]}.")
    if option not in OWN_OPTIONS | {"name", "aliases"} and not hasattr(Task, option):
        similar = difflib.get_close_matches(option, OWN_OPTIONS, n=1)
        remedy = f": did you mean {similar[0]}?" if similar else ", and neither does Celery."
        raise TypeError(f"operation_task does not know the option {option}{remedy}")


def _share(kind: Kind, *, options: dict[str, Any]) -> OperationTask[..., Any]:
    registered.setdefault(kind.name, []).append(kind.function)
    compensation.known_kinds[kind.name] = kind
    decorate: Callable[..., Any] = shared_task(
        name=kind.name,
        base=OperationTask,
        kind=kind,
        time_limit=kind.time_limit + KILL_DELAY_SECONDS,
        acks_late=False,
        reject_on_worker_lost=False,
        ignore_result=True,
        store_errors_even_if_ignored=True,
        **options,
    )
    task: OperationTask[..., Any] = decorate(kind.function)
    return task


def process_name(worker: str, pid: int) -> str:
    """A process's name in the column `worker`: `celery@host/4711-9f2c01ab`.

    It has the node name, the process id and BOOT_ID. Two containers may share the first two.
    """
    return f"{worker[:230]}/{pid}-{BOOT_ID}"


def _default_name(function: Function) -> str:
    """`reports.export_report` for `export_report` of `reports.tasks`."""
    return f"{function.__module__.removesuffix('.tasks')}.{function.__name__}"


@cache
def discover() -> None:
    """Import the modules that a worker imports; raises their errors.

    Celery's import_default_modules() is not used: it sets Django up again, which changes the
    script prefix of the request that is being answered.
    """
    current_app.autodiscover_tasks(force=True)
    for module in current_app.loader.default_modules:
        current_app.loader.import_task_module(module)


def known_kinds() -> list[str]:
    """The names of all kinds, sorted. Kinds in modules that cannot be imported are missing."""
    try:
        discover()
    except Exception:
        logger.warning("Kinds are missing: no worker can import these tasks", exc_info=True)
    return sorted(registered)


def get_task(kind: str) -> OperationTask[..., Any]:
    """The task registered under the name `kind`; raises UnknownKind.

    A web process or a shell may not have imported all tasks. The others are discovered once.
    """
    cause: Exception | None = None
    if kind not in current_app.tasks:
        try:
            discover()
        except Exception as error:  # noqa: BLE001 a module of the project may raise anything
            cause = error
    task = current_app.tasks.get(kind)
    if not isinstance(task, OperationTask):
        raise UnknownKind(
            f"No operation task is called {kind!r}: is its module imported?"
        ) from cause
    return task
