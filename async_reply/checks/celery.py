"""Checks the project's Celery: its app, kinds, routes, pool and queues."""

from collections.abc import Iterator, Sequence
from typing import Any

from celery import current_app
from celery.exceptions import QueueNotFound
from django.apps import AppConfig
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.db import DatabaseError

from async_reply import tasks
from async_reply.checks import brokers, pools, schedules
from async_reply.checks.registry import register, register_for_databases
from async_reply.database import alias, schema
from async_reply.publishing import queues, routing

Configs = Sequence[AppConfig] | None


@register
def check_celery(app_configs: Configs, **_kwargs: Any) -> list[CheckMessage]:
    """Messages reach the project's broker as JSON, and each kind has one function."""
    if _is_default_app():
        return [
            Error(
                "No Celery app is loaded: each submit is answered 202, but no job ever runs.",
                hint=(
                    "Import your Celery app in the __init__.py beside settings.py: "
                    "from .celery import app as celery_app"
                ),
                id="async_reply.E001",
            )
        ]
    return [
        *brokers.check_broker(),
        *_check_tasks(),
        *_check_kinds(),
        *_check_routes(),
        *schedules.check_schedule(),
        *_check_speed(),
        *_check_pool(),
    ]


def _check_tasks() -> Iterator[CheckMessage]:
    try:
        tasks.discover()
    except Exception as error:  # noqa: BLE001 a module of the project may raise anything
        yield Error(
            f"The tasks of the project cannot be imported: {type(error).__name__}: {error}",
            hint="No worker starts with them. Import each tasks.py in a shell to see the error.",
            id="async_reply.E005",
        )


def _check_kinds() -> Iterator[CheckMessage]:
    for name, functions in sorted(tasks.registered.items()):
        places = sorted(
            {f"{function.__module__}.{function.__qualname__}" for function in functions}
        )
        if len(places) > 1:
            yield Error(
                f"The kind {name!r} is declared more than once: {', '.join(places)}.",
                hint="Give one of them another name by @operation_task(name=…).",
                id="async_reply.E004",
            )


def _check_routes() -> Iterator[CheckMessage]:
    """The routers give each kind exactly one queue."""
    for kind in routing.kinds():
        task: Any = current_app.tasks[kind]
        try:
            route = routing.route(kind, queue=task.kind.queue)
        except routing.Unroutable as error:
            yield _unroutable(kind, error)
            continue
        if not route.queue:
            yield checks.Warning(
                f"The kind {kind!r} goes to the exchange {route.exchange!r} with the routing key "
                f"{route.routing_key!r}, but this does not lead to exactly one queue of "
                "CELERY_TASK_QUEUES: if the broker loses a message, it is published again only "
                "when a worker has claimed a later one.",
                hint="Declare the queue in CELERY_TASK_QUEUES, or route the kind to a queue.",
                id="async_reply.W111",
            )


def _unroutable(kind: str, error: routing.Unroutable) -> CheckMessage:
    if isinstance(error.__cause__, QueueNotFound):
        return Error(
            f"Operations of the kind {kind!r} stay pending: {error.__cause__}.",
            hint=(
                "Add the queue to CELERY_TASK_QUEUES, or name another queue in CELERY_TASK_ROUTES "
                "or @operation_task(queue=…)."
            ),
            id="async_reply.E040",
        )
    return Error(
        f"Operations of the kind {kind!r} stay pending: a router of CELERY_TASK_ROUTES raises "
        f"{error}",
        hint=(
            "Correct the router. It gets the same arguments as from .delay() of a task without "
            "arguments: args is empty, and options hold no headers."
        ),
        id="async_reply.E039",
    )


def _check_speed() -> Iterator[CheckMessage]:
    """Celery's settings make jobs fast."""
    # A green thread runs one job. Its connection would stay open, and no other job would use it.
    if _pool() not in pools.GREEN and not pools.reuses_connections():
        yield checks.Warning(
            "Celery opens a new database connection for each task.",
            hint="Set CELERY_DB_REUSE_MAX = 1000: jobs then run about three times as fast.",
            id="async_reply.W101",
        )
    if current_app.conf.worker_prefetch_multiplier != 1:
        yield checks.Warning(
            "Workers reserve more messages than they run: jobs wait although processes are idle.",
            hint=(
                "Set CELERY_WORKER_PREFETCH_MULTIPLIER = 1 (and on Redis "
                "CELERY_WORKER_DISABLE_PREFETCH = True)."
            ),
            id="async_reply.W102",
        )


def _check_pool() -> Iterator[CheckMessage]:
    """The pool in Celery's settings has no shortcomings. A worker logs those of its own pool."""
    shortcomings = pools.shortcomings(_pool(), driver=pools.driver(), concurrency=_concurrency())
    for shortcoming in shortcomings:
        yield _warning(shortcoming)


def _warning(shortcoming: pools.Shortcoming) -> CheckMessage:
    number, text, hint = shortcoming.number, shortcoming.text, shortcoming.hint
    return checks.Warning(text, hint=hint, id=f"async_reply.W{number}")


@register_for_databases
def check_connections(
    app_configs: Configs, databases: Sequence[str] | None = None, **_kwargs: Any
) -> list[CheckMessage]:
    """`check --database default`: one worker gets all the connections that it wants."""
    concurrency = _concurrency()
    if alias() not in (databases or ()) or _is_default_app() or concurrency is None:
        return []
    shortcomings = pools.few_connections(_pool(), concurrency)
    return [_warning(shortcoming) for shortcoming in shortcomings]


@register_for_databases
def check_queues(
    app_configs: Configs, databases: Sequence[str] | None = None, **_kwargs: Any
) -> list[CheckMessage]:
    """`check --database default`: a worker reads each queue in which operations wait."""
    if alias() not in (databases or ()) or _is_default_app():
        return []
    try:
        unserved = queues.unserved()
    except DatabaseError as error:
        # `migrate` runs checks before it makes the tables.
        if schema.is_behind(error):
            return []
        raise
    return [
        checks.Warning(
            f"Operations wait in queue {queue!r}, but no worker reads it.",
            hint=f"Start a worker with -Q {queue}, or correct CELERY_TASK_ROUTES.",
            id="async_reply.W110",
        )
        for queue in unserved
    ]


def _is_default_app() -> bool:
    """Whether Celery uses its own app, since no module has imported the project's."""
    return current_app.main == "default"


def _concurrency() -> int | None:
    """The concurrency in Celery's settings; None if each machine has its own."""
    concurrency = current_app.conf.worker_concurrency
    return int(concurrency) if str(concurrency).isdecimal() else None


def _pool() -> str:
    """The pool in Celery's settings. The command line of a worker may name another."""
    return pools.name_of(current_app.conf.worker_pool)
