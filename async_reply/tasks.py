"""Celery's side: a task is a shell around the runner."""

import difflib
import os
import secrets
import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from datetime import timedelta
from functools import cache, partial
from typing import Any, Concatenate, Generic, NoReturn, ParamSpec, TypeVar, overload
from uuid import UUID

from celery import Task, current_app, shared_task
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded

from async_reply.attempts import interrupts, processes, runner
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Cancel, Exceptions, Function, Kind
from async_reply.attempts.runner import Ending, Report
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

# Made by a worker's main process before it forks: its children have the same, no other worker has.
BOOT = secrets.token_hex(4)

# Kinds by name, with the functions of those that were registered more than once.
registered: dict[str, list[Function]] = {}


class OperationTask(Task, Generic[P, R]):  # type: ignore[type-arg]
    """A Celery task that runs the operation whose id is its task id.

    `P` are the function's parameters after `operation`, `R` is what it returns.
    """

    abstract = True
    name: str
    kind: Kind
    #: What stands for a message in the worker's main process.
    Request = "async_reply.worker.requests:OperationRequest"

    @overload
    def __call__(self) -> None: ...

    @overload
    def __call__(self, operation: Any, /, *args: P.args, **kwargs: P.kwargs) -> R: ...

    # mypy takes no implementation for P.
    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[misc]
        """The plain function when called like one, the worker's shell otherwise."""
        request = self.request
        if request.called_directly or getattr(request, "is_executing", False):
            return self.kind.function(*args, **kwargs)
        if args or kwargs:
            logger.error(
                "A message for operation id=%s kind=%s has arguments of its own, and is ignored: "
                "input comes from the row alone. Who sends such messages?",
                request.id,
                self.name,
            )
            raise Ignore
        # A job may call its own function: that is no message.
        request.update(is_executing=True)
        self.execute()
        return None

    def execute(self) -> None:
        """Run the operation and tell Celery the truth about it."""
        pk, is_eager = UUID(self.request.id), bool(self.request.is_eager)
        if interrupts.stopping.is_set() and not is_eager:
            # It would only be stopped again.
            relay.hand_back(pk)
            raise Ignore
        worker = process_name(self.request.hostname or "", os.getpid())
        try:
            report = self.perform(pk, worker=worker, inline=is_eager)
        except (Exception, DatabaseAway) as error:
            if not is_eager and processes.is_at_fault(error):
                processes.give_up(pk, error, hand_back=relay.hand_back)
            raise RuntimeError(f"The attempt did not end: {error!r}.") from error
        if report.ending is Ending.SUCCEEDED:
            return
        if report.ending is not Ending.FAILED:
            raise Ignore
        reported = _reported(report)
        if reported is report.error:
            raise reported
        raise reported from report.error

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


def _reported(report: Report) -> BaseException:
    """The exception that Celery is told of a failed job.

    Celery logs an OperationFailed in one line (`throws`), and every other one with its traceback.
    """
    error = report.error
    if report.is_refusal:
        return error if isinstance(error, OperationFailed) else OperationFailed(str(error))
    if isinstance(error, Exception) and not isinstance(error, (OperationFailed, *ORDERS)):
        return error
    # Raised as it is, it would be an order to the worker: to end, or to take the message back.
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
    retention: int | None = ...,
    expected_duration: float | None = ...,
    get_estimate_key: Callable[[Any], object] | None = ...,
    queue: str = ...,
    priority: int | None = ...,
    cancel: Cancel = ...,
    **options: Any,
) -> Callable[[Callable[Concatenate[Job, P], R]], OperationTask[P, R]]: ...


def operation_task(*positional: Function, **options: Any) -> Any:
    """Make a Celery task of a function whose first parameter is `operation`.

    Own options: `name`, `aliases`, `max_retries`, `autoretry_for`, `dont_autoretry_for`,
    `retry_backoff`, `retry_backoff_max`, `retry_jitter`, `default_retry_delay`, `max_losses`,
    `time_limit` and `retention` (seconds), `queue`, `priority`, `cancel`,
    `expected_duration` (seconds), `get_estimate_key`. Celery's own (`rate_limit`,
    `soft_time_limit`, …) go to Celery. What neither knows raises TypeError, and so do `bind`,
    `acks_late` and `reject_on_worker_lost`, and a function that cannot be a job; a value that
    makes no sense raises TypeError or ValueError.
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
    own = {key: options.pop(key) for key in OWN_OPTIONS & options.keys()}
    for key in ("autoretry_for", "dont_autoretry_for"):
        own[key] = _exceptions(key, own.get(key, ()))
    kind = Kind(name=name, function=function, timeouts=_timeouts(), **own)
    # Celery logs these in one line, and Sentry leaves them alone.
    options["throws"] = (OperationFailed, *_exceptions("throws", options.get("throws", ())))
    # A row has the name that it was submitted by, and so has its message.
    kinds = [replace(kind, name=one) for one in (name, *aliases)]
    tasks = [_share(each, options=options) for each in kinds]
    return tasks[0]


def _exceptions(option: str, given: Any) -> Exceptions:
    """`given` as a tuple; one class will do, as in an except clause."""
    classes = tuple(given) if isinstance(given, Iterable) else (given,)
    if not all(isinstance(each, type) and issubclass(each, BaseException) for each in classes):
        raise TypeError(f"{option} takes exception classes, not {given!r}.")
    return classes


def _timeouts() -> Exceptions:
    """What Celery's pools raise in a job that runs for too long."""
    gevent = sys.modules.get("gevent")
    return (SoftTimeLimitExceeded,) if gevent is None else (SoftTimeLimitExceeded, gevent.Timeout)


def _check_option(option: str) -> None:
    """Raise TypeError for what is refused or unknown: a misspelt max_losses=0 repeats a job."""
    if option in REFUSED_OPTIONS:
        raise TypeError(f"operation_task takes no {option}: {REFUSED_OPTIONS[option]}.")
    if option not in OWN_OPTIONS | {"name", "aliases"} and not hasattr(Task, option):
        near = difflib.get_close_matches(option, OWN_OPTIONS, n=1)
        meant = f": did you mean {near[0]}?" if near else ", and neither does Celery."
        raise TypeError(f"operation_task does not know the option {option}{meant}")


def _share(kind: Kind, *, options: dict[str, Any]) -> OperationTask[..., Any]:
    registered.setdefault(kind.name, []).append(kind.function)
    make: Callable[..., Any] = shared_task(
        name=kind.name,
        base=OperationTask,
        kind=kind,
        time_limit=kind.time_limit + GRACE,
        ignore_result=True,
        store_errors_even_if_ignored=True,
        **options,
    )
    task: OperationTask[..., Any] = make(kind.function)
    return task


def process_name(worker: str, pid: int) -> str:
    """How a row names the process that runs it: `celery@host/4711-9f2c01ab`.

    Node name, process id and BOOT. Two containers may have the same of the first two.
    """
    return f"{worker[:230]}/{pid}-{BOOT}"


def _default_name(function: Function) -> str:
    """`reports.export_report` for `export_report` of `reports.tasks`."""
    return f"{function.__module__.removesuffix('.tasks')}.{function.__name__}"


@cache
def discover() -> None:
    """Import the modules that a worker imports; raises what they raise.

    Not by Celery's import_default_modules(): that sets Django up anew, and with it the script
    prefix of the request that is being answered.
    """
    current_app.autodiscover_tasks(force=True)
    for module in current_app.loader.default_modules:
        current_app.loader.import_task_module(module)


def known_kinds() -> list[str]:
    """The names of all kinds, in order; without those of modules that cannot be imported."""
    try:
        discover()
    except Exception:
        logger.warning("Kinds are missing: no worker starts with these tasks", exc_info=True)
    return sorted(registered)


def get_task(kind: str) -> OperationTask[..., Any]:
    """The task registered under the name `kind`; raises UnknownKind.

    A web process or a shell has imported some tasks only: the others are looked for once.
    """
    cause: Exception | None = None
    if kind not in current_app.tasks:
        try:
            discover()
        except Exception as error:  # noqa: BLE001 whatever a module of the project does
            cause = error
    task = current_app.tasks.get(kind)
    if not isinstance(task, OperationTask):
        raise UnknownKind(
            f"No operation task is called {kind!r}: is its module imported?"
        ) from cause
    return task
