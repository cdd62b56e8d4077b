"""The project's Celery: broker, kinds, pool and queues."""

from collections.abc import Iterator, Sequence
from typing import Any

from celery import current_app
from celery.exceptions import QueueNotFound
from django.apps import AppConfig
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import DatabaseError
from kombu.serialization import registry  # type: ignore[attr-defined]  # the stubs lack it

from async_reply import tasks
from async_reply.checks import pools
from async_reply.database import alias, schema
from async_reply.publishing import queues, routing

Configs = Sequence[AppConfig] | None


@register("async_reply")
def check_celery(app_configs: Configs, **_kwargs: Any) -> list[CheckMessage]:
    """Submits reach the project's broker, as JSON, and its kinds are one each."""
    if _is_default_app():
        return [
            Error(
                "No Celery app is loaded: every submit would be answered 202 and never run.",
                hint=(
                    "Import your Celery app in the __init__.py beside settings.py: "
                    "from .celery import app as celery_app"
                ),
                id="async_reply.E001",
            )
        ]
    return [
        *_check_broker(),
        *_check_tasks(),
        *_check_kinds(),
        *_check_routes(),
        *_check_speed(),
        *_check_pool(),
    ]


def _check_broker() -> Iterator[CheckMessage]:
    problem = _transport_problem()
    if problem:
        yield Error(
            f"The broker's transport cannot be loaded: {problem}",
            hint='Install what it needs, for example "celery[redis]".',
            id="async_reply.E002",
        )
    if _uses_default_broker():
        yield checks.Warning(
            "No broker is configured: Celery looks for RabbitMQ on this machine, as guest.",
            hint='Set CELERY_BROKER_URL, for example "redis://localhost:6379".',
            id="async_reply.W106",
        )
    if _accepts_pickle():
        yield Error(
            "Celery accepts pickle: whoever reaches the broker can run code in the workers.",
            hint='Set CELERY_ACCEPT_CONTENT = ["json"] and CELERY_TASK_SERIALIZER = "json".',
            id="async_reply.E003",
        )
    if unread := _unread_serializer():
        yield Error(
            f"Celery sends messages as {unread!r}, which its workers do not accept: operations "
            "would stay pending.",
            hint='Set CELERY_TASK_SERIALIZER = "json" and CELERY_ACCEPT_CONTENT = ["json"].',
            id="async_reply.E006",
        )


def _check_tasks() -> Iterator[CheckMessage]:
    try:
        tasks.discover()
    except Exception as error:  # noqa: BLE001 whatever a module of the project does
        yield Error(
            f"The tasks of the project cannot be imported: {type(error).__name__}: {error}",
            hint="No worker starts with them: see what importing each tasks.py says.",
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
                hint="Give one of them another name: @operation_task(name=…).",
                id="async_reply.E004",
            )


def _check_routes() -> Iterator[CheckMessage]:
    """Asks the routers for each kind, as publishing does."""
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
                f"{route.routing_key!r}, which reach not exactly one of CELERY_TASK_QUEUES: a "
                "message that the broker loses is published again only when another overtakes it.",
                hint="Declare the queue in CELERY_TASK_QUEUES, or route the kind to a queue.",
                id="async_reply.W111",
            )


def _unroutable(kind: str, error: routing.Unroutable) -> CheckMessage:
    if isinstance(error.__cause__, QueueNotFound):
        return Error(
            f"The kind {kind!r} would stay pending: {error.__cause__}.",
            hint=(
                "Add the queue to CELERY_TASK_QUEUES, or name another one in CELERY_TASK_ROUTES or "
                "@operation_task(queue=…)."
            ),
            id="async_reply.E040",
        )
    return Error(
        f"The kind {kind!r} would stay pending: a router of CELERY_TASK_ROUTES raises {error}",
        hint=(
            "Mend the router. It is called with the arguments that .delay() of a task without "
            "arguments gives it: args is empty, and options hold no headers."
        ),
        id="async_reply.E039",
    )


def _check_speed() -> Iterator[CheckMessage]:
    """Settings that cost time and break nothing."""
    # In a green thread nobody would use a connection a second time, and nobody close it.
    if _pool() not in pools.GREEN and not pools.reuses_connections():
        yield checks.Warning(
            "Celery opens a database connection for each task.",
            hint="Set CELERY_DB_REUSE_MAX = 1000: jobs then run about three times as fast.",
            id="async_reply.W101",
        )
    if current_app.conf.worker_prefetch_multiplier != 1:
        yield checks.Warning(
            "Workers reserve more messages than they run: jobs wait beside idle processes.",
            hint=(
                "Set CELERY_WORKER_PREFETCH_MULTIPLIER = 1 (and on Redis "
                "CELERY_WORKER_DISABLE_PREFETCH = True)."
            ),
            id="async_reply.W102",
        )


def _check_pool() -> Iterator[CheckMessage]:
    """What a worker also says at its start, where the pool may come from its command line."""
    told = pools.shortcomings(_pool(), driver=pools.driver(), concurrency=_concurrency())
    for each in told:
        yield _warning(each)


def _warning(each: pools.Shortcoming) -> CheckMessage:
    return checks.Warning(each.text, hint=each.hint, id=f"async_reply.W{each.number}")


@register("async_reply", Tags.database)
def check_connections(
    app_configs: Configs, databases: Sequence[str] | None = None, **_kwargs: Any
) -> list[CheckMessage]:
    """`check --database default`: one worker at least gets all the connections it wants."""
    concurrency = _concurrency()
    if alias() not in (databases or ()) or _is_default_app() or concurrency is None:
        return []
    return [_warning(each) for each in pools.few_connections(_pool(), concurrency)]


@register("async_reply", Tags.database)
def check_queues(
    app_configs: Configs, databases: Sequence[str] | None = None, **_kwargs: Any
) -> list[CheckMessage]:
    """`check --database default`: what waits will be read by some worker."""
    if alias() not in (databases or ()) or _is_default_app():
        return []
    try:
        unserved = queues.unserved()
    except DatabaseError as error:
        # `migrate` checks before it makes the tables.
        if schema.is_behind(error):
            return []
        raise
    return [
        checks.Warning(
            f"Operations wait in queue {queue!r}, which no worker reads.",
            hint=f"Start a worker with -Q {queue}, or mend CELERY_TASK_ROUTES.",
            id="async_reply.W110",
        )
        for queue in unserved
    ]


def _is_default_app() -> bool:
    """Whether Celery fell back on its own app, because the project's is not imported."""
    return current_app.main == "default"


def _transport_problem() -> str:
    """Why the broker's transport cannot be loaded; '' if it can."""
    try:
        current_app.connection_for_write().transport  # noqa: B018 loads what it names
    except Exception as error:  # noqa: BLE001 whatever an import of it does
        return f"{type(error).__name__}: {error}"
    return ""


def _uses_default_broker() -> bool:
    """Whether nothing says where the broker is: Celery then means RabbitMQ on this machine."""
    settings = current_app.conf
    return not (settings.broker_write_url or settings.broker_transport)


def _accepts_pickle() -> bool:
    """None accepts whatever is known."""
    names, accepted = registry.type_to_name, current_app.conf.accept_content
    return accepted is None or any("pickle" in names.get(each, each) for each in accepted)


def _unread_serializer() -> str:
    """How Celery writes messages, where no worker would read them; '' where workers do."""
    types, settings = registry.name_to_type, current_app.conf
    written = str(settings.task_serializer)
    if settings.accept_content is None:
        return ""
    read = {types.get(each, each) for each in settings.accept_content}
    return "" if types.get(written, written) in read else written


def _concurrency() -> int | None:
    """The concurrency that Celery's settings name; None where each machine has its own."""
    named = current_app.conf.worker_concurrency
    return int(named) if str(named).isdecimal() else None


def _pool() -> str:
    """The pool that Celery's settings name; workers may be told another."""
    return pools.name_of(current_app.conf.worker_pool)
