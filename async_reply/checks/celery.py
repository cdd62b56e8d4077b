"""The project's Celery: broker, kinds, pool and queues."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import DatabaseError

from async_reply import pools, queues, relay, schema, tasks
from async_reply.models import database

Configs = Sequence[AppConfig] | None


@register("async_reply")
def check_celery(app_configs: Configs, **_kwargs: Any) -> list[CheckMessage]:
    """Submits reach the project's broker, as JSON, and its kinds are one each."""
    if relay.is_default_app():
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
        *_check_speed(),
        *_check_pool(),
    ]


def _check_broker() -> Iterator[CheckMessage]:
    problem = relay.transport_problem()
    if problem:
        yield Error(
            f"The broker's transport cannot be loaded: {problem}",
            hint='Install what it needs, for example "celery[redis]".',
            id="async_reply.E002",
        )
    if relay.uses_default_broker():
        yield checks.Warning(
            "No broker is configured: Celery looks for RabbitMQ on this machine, as guest.",
            hint='Set CELERY_BROKER_URL, for example "redis://localhost:6379".',
            id="async_reply.W106",
        )
    if relay.accepts_pickle():
        yield Error(
            "Celery accepts pickle: whoever reaches the broker can run code in the workers.",
            hint='Set CELERY_ACCEPT_CONTENT = ["json"] and CELERY_TASK_SERIALIZER = "json".',
            id="async_reply.E003",
        )
    if unread := relay.unread_serializer():
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


def _check_speed() -> Iterator[CheckMessage]:
    for text, hint, number in relay.slow_settings():
        yield checks.Warning(text, hint=hint, id=f"async_reply.W10{number}")


def _check_pool() -> Iterator[CheckMessage]:
    """What a worker also says at its start, where the pool may come from its command line."""
    for each in pools.shortcomings(relay.pool(), driver=pools.driver()):
        yield checks.Warning(each.text, hint=each.hint, id=f"async_reply.W{each.number}")


@register("async_reply", Tags.database)
def check_queues(
    app_configs: Configs, databases: Sequence[str] | None = None, **_kwargs: Any
) -> list[CheckMessage]:
    """`check --database default`: what waits will be read by some worker."""
    if database() not in (databases or ()) or relay.is_default_app():
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
