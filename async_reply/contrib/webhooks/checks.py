"""Checks that the app can work: its packages, its queue, and what production must not allow."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from django.apps import AppConfig, apps
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import DatabaseError, router

from async_reply import conf
from async_reply.database import alias, schema
from async_reply.publishing import queues

PACKAGES = ("cryptography", "httpcore", "standardwebhooks")

Configs = Sequence[AppConfig] | None


@register("async_reply")
def check_webhooks(app_configs: Configs = None, **_kwargs: Any) -> list[CheckMessage]:
    """The packages of the extra are installed, and its tables are beside those of operations."""
    return [*_check_packages(), *_check_database()]


def _check_packages() -> Iterator[CheckMessage]:
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        yield Error(
            f"async_reply.contrib.webhooks needs packages that are missing: {', '.join(missing)}.",
            hint="Install django-async-reply[webhooks].",
            id="async_reply.E041",
        )


def _check_database() -> Iterator[CheckMessage]:
    database = router.db_for_write(apps.get_model("async_reply_webhooks", "Delivery"))
    if database != alias():
        yield Error(
            f"The tables of webhooks are in the database {database}, and those of operations in "
            f"{alias()}: no transaction stores an operation with its deliveries, so some are lost.",
            hint="Have DATABASE_ROUTERS send the app async_reply_webhooks where async_reply goes.",
            id="async_reply.E042",
        )


@register("async_reply", Tags.database)
def check_queue(
    app_configs: Configs = None, databases: Sequence[str] | None = None, **_kwargs: Any
) -> list[CheckMessage]:
    """A living worker reads WEBHOOK_QUEUE. Without any living worker nothing is known."""
    queue = _allowed("WEBHOOK_QUEUE")
    if queue is None or alias() not in (databases or ()):
        return []
    try:
        read = list(queues.living().values_list("queues", flat=True))
    except DatabaseError as error:
        # `migrate` runs checks before it makes the tables.
        if schema.is_behind(error):
            return []
        raise
    if not read or any(queue in names for names in read):
        return []
    return [
        checks.Warning(
            f"No living worker reads the queue {queue}: no webhook is delivered.",
            hint=f'Start a worker with -Q {queue}, or correct ASYNC_REPLY["WEBHOOK_QUEUE"].',
            id="async_reply.W150",
        )
    ]


@register("async_reply", deploy=True)
def check_deployment(app_configs: Configs = None, **_kwargs: Any) -> list[CheckMessage]:
    """`check --deploy`: nobody on the way reads the messages."""
    if "http" not in _allowed("WEBHOOK_SCHEMES"):
        return []
    return [
        checks.Warning(
            "Webhooks may be sent to http:// URLs: anybody on the way reads and changes them.",
            hint='Leave "http" out of ASYNC_REPLY["WEBHOOK_SCHEMES"].',
            id="async_reply.W151",
        )
    ]


def _allowed(key: str) -> Any:
    """The value of a setting, or its default where another check reports the value."""
    configured = conf.configured()
    value = configured.get(key) if isinstance(configured, dict) else None
    setting = conf.SETTINGS[key]
    return value if value is not None and setting.values.include(value) else setting.default
