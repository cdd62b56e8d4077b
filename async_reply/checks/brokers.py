"""Checks that Celery can read the project's broker URL, and that its messages are JSON."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from celery import current_app
from django.core import checks
from django.core.checks import CheckMessage, Error
from kombu.serialization import registry  # type: ignore[attr-defined]  # the stubs lack it

from async_reply.checks.registry import register_for_deployment

#: Schemes of brokers whose databases have numbers, in the path of the URL.
NUMBERED = frozenset({"redis", "rediss"})
#: The settings that name a broker. Celery's workers may read from another one than it sends to.
SETTINGS = ("broker_write_url", "broker_read_url")


def check_broker() -> Iterator[CheckMessage]:
    """Messages reach the broker, and workers read their format."""
    unreadable = sorted({*_unreadable_urls()})
    if unreadable:
        yield Error(
            f"The URL of the broker cannot be read: {'; '.join(unreadable)}.",
            hint='Write CELERY_BROKER_URL = "scheme://user:password@host:port/name", and encode '
            "user and password by urllib.parse.quote(…, safe='').",
            id="async_reply.E007",
        )
    elif problem := _transport_problem():
        yield Error(
            f"The broker's transport cannot be loaded: {problem}",
            hint='Install the packages that it needs, for example "celery[redis]".',
            id="async_reply.E002",
        )
    if _uses_default_broker():
        yield checks.Warning(
            "No broker is configured: Celery tries RabbitMQ on this machine, as the user guest.",
            hint='Set CELERY_BROKER_URL, for example "redis://localhost:6379".',
            id="async_reply.W106",
        )
    if _accepts_pickle():
        yield Error(
            "Celery accepts pickle: anybody who reaches the broker can run code in the workers.",
            hint='Set CELERY_ACCEPT_CONTENT = ["json"] and CELERY_TASK_SERIALIZER = "json".',
            id="async_reply.E003",
        )
    if unread := _unread_serializer():
        yield Error(
            f"Celery sends messages as {unread!r}, but its workers do not accept this format: "
            "operations stay pending.",
            hint='Set CELERY_TASK_SERIALIZER = "json" and CELERY_ACCEPT_CONTENT = ["json"].',
            id="async_reply.E006",
        )


@register_for_deployment
def check_deployment(app_configs: Any, **_kwargs: Any) -> list[CheckMessage]:
    """`check --deploy`: jobs run in workers."""
    settings = current_app.conf
    messages: list[CheckMessage] = []
    if settings.task_always_eager:
        messages.append(
            checks.Warning(
                "CELERY_TASK_ALWAYS_EAGER is set: jobs run inside the requests that submit them.",
                hint="Remove it from the settings of the deployment. It is for tests.",
                id="async_reply.W119",
            )
        )
    urls = [settings.broker_write_url, settings.broker_transport]
    if any(str(url or "").startswith("memory") for url in urls):
        messages.append(
            checks.Warning(
                "The broker is the memory of each process: no message of a web process reaches a "
                "worker.",
                hint='Set CELERY_BROKER_URL, for example "redis://localhost:6379".',
                id="async_reply.W129",
            )
        )
    return messages


def _unreadable_urls() -> Iterator[str]:
    """The mistakes in the URLs of the broker. No text quotes a URL: it may hold a password."""
    # With a transport of its own, Celery takes the URL for the name of a host.
    if current_app.conf.broker_transport:
        return
    for name in SETTINGS:
        given = getattr(current_app.conf, name) or ()
        for urls in [given] if isinstance(given, str) else given:
            for url in urls.split(";"):
                if problem := _problem_of_url(url):
                    yield problem


def _problem_of_url(url: str) -> str:
    """The reason why Celery cannot read the URL; '' if it can."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        # Celery takes the whole text for the name of a host on which RabbitMQ runs.
        return "it has no scheme"
    # A URL in a URL, such as sqla+sqlite:///broker.db, has a syntax of its own.
    if "+" in scheme:
        return ""
    try:
        parts = urlsplit(f"scheme://{rest}")
        parts.port  # noqa: B018 the attribute reads it
    except ValueError:
        return "its host or port cannot be read, or its password has a character like # or /"
    database = parts.path.strip("/ ")
    if scheme in NUMBERED and database and not database.isdecimal():
        return "the database at its end is no number"
    return ""


def _transport_problem() -> str:
    """The error of loading the broker's transport; '' if it can be loaded."""
    try:
        current_app.connection_for_write().transport  # noqa: B018 the attribute loads it
    except Exception as error:  # noqa: BLE001 a transport may raise anything
        return f"{type(error).__name__}: {error}"
    return ""


def _uses_default_broker() -> bool:
    """Whether no setting names a broker. Celery then uses RabbitMQ on this machine."""
    settings = current_app.conf
    return not (settings.broker_write_url or settings.broker_transport)


def _accepts_pickle() -> bool:
    names, accepted = registry.type_to_name, current_app.conf.accept_content
    # None accepts all formats.
    return accepted is None or any("pickle" in names.get(name, name) for name in accepted)


def _unread_serializer() -> str:
    """The format of Celery's messages if workers do not read it; '' if they do."""
    types, settings = registry.name_to_type, current_app.conf
    written = str(settings.task_serializer)
    if settings.accept_content is None:
        return ""
    read = {types.get(name, name) for name in settings.accept_content}
    return "" if types.get(written, written) in read else written
