"""System checks: what would lose work, let strangers in, or break silently.

Ids are never reused. E001-E009 Celery, E010-E019 settings, E020-E029 views and URLs,
W101-W119 what is correct but slow or fragile, W120-W129 databases.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import storages
from django.db import DatabaseError, connections
from django.urls import NoReverseMatch, URLPattern, URLResolver, get_resolver, reverse
from django.utils.module_loading import import_string

from async_reply import conf, queues, relay, schema, tasks
from async_reply.models import database

Configs = Sequence[AppConfig] | None


@register("async_reply")
def check_settings(app_configs: Configs, **_kwargs: Any) -> list[CheckMessage]:
    """Each key of ASYNC_REPLY is known and makes sense."""
    configured = conf.configured()
    if not isinstance(configured, dict):
        return [Error("ASYNC_REPLY is not a dict: write ASYNC_REPLY = {…}.", id="async_reply.E010")]
    found: list[CheckMessage] = []
    for key, value in configured.items():
        if key not in conf.DEFAULTS:
            hint = f"Known keys: {', '.join(sorted(conf.DEFAULTS))}."
            found.append(
                Error(f'ASYNC_REPLY["{key}"] does not exist.', hint=hint, id="async_reply.E011")
            )
        elif not _is_valid(key, value):
            text = f'ASYNC_REPLY["{key}"] is {value!r}: it takes {conf.VALID[key][1]}.'
            found.append(Error(text, id="async_reply.E012"))
    return found or [*_check_references()]


def _is_valid(key: str, value: Any) -> bool:
    try:
        return conf.VALID[key][0](value)
    except TypeError:
        return False


def _check_references() -> Iterator[CheckMessage]:
    if conf.get("STORAGE") not in settings.STORAGES:
        text = f'ASYNC_REPLY["STORAGE"] names {conf.get("STORAGE")!r}, which STORAGES lacks.'
        yield Error(text, hint="Add it to STORAGES.", id="async_reply.E013")
    try:
        import_string(conf.get("ACCESS"))
    except ImportError as error:
        yield Error(f'ASYNC_REPLY["ACCESS"] cannot be imported: {error}', id="async_reply.E014")
    try:
        import_string(conf.get("SIGNED_URL") or "builtins.str")
    except ImportError as error:
        text = f'ASYNC_REPLY["SIGNED_URL"] cannot be imported: {error}'
        yield Error(text, id="async_reply.E016")


@register("async_reply", deploy=True)
def check_storage(app_configs: Configs, **_kwargs: Any) -> list[CheckMessage]:
    """Files of operations are not in the folder that web servers publish, nor read into memory."""
    found: list[CheckMessage] = []
    if conf.get("STORAGE") not in settings.STORAGES:
        return found
    storage = storages[conf.get("STORAGE")]
    # django-storages' S3: 0, its default, keeps whole objects in memory.
    if getattr(storage, "max_memory_size", None) == 0:
        found.append(
            checks.Warning(
                "The storage reads each file of an operation into memory as a whole.",
                hint="Set its max_memory_size (AWS_S3_MAX_MEMORY_SIZE) to a few mebibytes.",
                id="async_reply.W108",
            )
        )
    if conf.get("STORAGE") != "default":
        return found
    return [
        *found,
        checks.Warning(
            "Inputs and results of operations are stored in the default storage, which many "
            "projects publish below MEDIA_URL.",
            hint='Add a private storage to STORAGES and name it in ASYNC_REPLY["STORAGE"].',
            id="async_reply.W104",
        ),
    ]


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
    return [*_check_broker(), *_check_tasks(), *_check_kinds(), *_check_speed()]


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
            hint='Set CELERY_ACCEPT_CONTENT = ["json"].',
            id="async_reply.E003",
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
    connection = connections[database()]
    mode = connection.settings_dict.get("OPTIONS", {}).get("transaction_mode")
    if connection.vendor == "sqlite" and str(mode).upper() != "IMMEDIATE":
        yield checks.Warning(
            "SQLite transactions are not IMMEDIATE: writers fail with 'database is locked'.",
            hint='Set OPTIONS = {"transaction_mode": "IMMEDIATE", "timeout": 20} in DATABASES.',
            id="async_reply.W103",
        )


@register("async_reply", checks.Tags.database)
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


@register("async_reply")
def check_isolation(app_configs: Configs, **_kwargs: Any) -> list[CheckMessage]:
    """A row that is read again is the row as it is now."""
    connection = connections[database()]
    level = connection.settings_dict.get("OPTIONS", {}).get("isolation_level", "read committed")
    if connection.vendor != "mysql" or str(level).lower() == "read committed":
        return []
    return [
        checks.Warning(
            f"Transactions on MariaDB have the isolation level {level!r}: within one, canceling "
            "an operation that has just moved on reads the same old row for ever.",
            hint='Leave isolation_level in OPTIONS at Django\'s default, "read committed".',
            id="async_reply.W120",
        )
    ]


#: Ids of which the first was made before the second.
IDS_IN_ORDER = ("00000000-0001-7000-8000-000000000002", "00000000-0002-7000-8000-000000000001")


@register("async_reply", checks.Tags.database)
def check_order_of_ids(
    app_configs: Configs, databases: Sequence[str] | None = None, **_kwargs: Any
) -> list[CheckMessage]:
    """Lists are newest first by their ids alone; `check --database` asks."""
    connection: Any = connections[database()]
    if connection.vendor != "mysql" or connection.alias not in (databases or ()):
        return []
    if not connection.features.has_native_uuid_field:
        return []
    with connection.cursor() as cursor:
        cursor.execute("SELECT CAST(%s AS UUID) < CAST(%s AS UUID)", IDS_IN_ORDER)
        if cursor.fetchone()[0]:
            return []
    return [
        checks.Warning(
            "This MariaDB sorts ids by their end, not by their time: lists are in random order.",
            hint="Use MariaDB 10.6, or 10.11.6, 11.0.4 and what came after them.",
            id="async_reply.W121",
        )
    ]


@register("async_reply")
def check_urls(app_configs: Configs, **_kwargs: Any) -> list[CheckMessage]:
    """Submit views have what they need, and the URLs they hand out exist."""
    if not getattr(settings, "ROOT_URLCONF", None) or check_settings(app_configs):
        return []
    views = list(_submit_views(get_resolver().url_patterns))
    found = [message for view in views for message in _check_view(view)]
    if views and not apps.is_installed("rest_framework"):
        found.append(
            checks.Warning(
                "rest_framework is not installed as an app: browsers get a 500 from its pages.",
                hint='Add "rest_framework" to INSTALLED_APPS.',
                id="async_reply.W107",
            )
        )
    name = f"{conf.get('URL_NAMESPACE')}:status"
    try:
        reverse(name, kwargs={"id": "0"})
    except (NoReverseMatch, ImproperlyConfigured):
        if views:
            found.append(
                Error(
                    f"There is no URL {name!r}, so a submit has no Location to answer.",
                    hint='Add path("api/", include("async_reply.urls")) to your URLconf; with a '
                    'namespace of your own, name it in ASYNC_REPLY["URL_NAMESPACE"].',
                    id="async_reply.E020",
                )
            )
    return found


def _submit_views(patterns: Sequence[URLPattern | URLResolver]) -> Iterator[type[Any]]:
    """View classes of the URLconf that submit, told by name: importing views costs a worker."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from _submit_views(pattern.url_patterns)
            continue
        callback: Any = pattern.callback
        view = getattr(callback, "cls", None) or getattr(callback, "view_class", None)
        names = {each.__name__ for each in getattr(view, "__mro__", ())}
        if view is not None and "LongRunningOperationMixin" in names:
            yield view


def _check_view(view: type[Any]) -> Iterator[CheckMessage]:
    names = {each.__name__ for each in view.__mro__}
    if "LongRunningOperationView" in names:
        if not isinstance(getattr(view, "task", None), tasks.OperationTask):
            yield Error(
                f"{view.__name__}.task is not an operation task.",
                hint="Decorate the function with @operation_task and name it in the view.",
                obj=view,
                id="async_reply.E021",
            )
        if view.serializer_class is None and not _overrides(view, "get_serializer_class"):
            yield Error(
                f"{view.__name__} has no serializer_class.",
                hint="Name a serializer that validates the request.",
                obj=view,
                id="async_reply.E022",
            )
    yield from _check_access(view)


def _check_access(view: type[Any]) -> Iterator[CheckMessage]:
    """A caller whom the submit view knows is known to the operations' views."""
    access = import_string(conf.get("ACCESS"))
    if view.authentication_classes is not None and (
        list(view.authentication_classes) != [type(each) for each in access().get_authenticators()]
    ):
        yield checks.Warning(
            f"{view.__name__} authenticates otherwise than the operations' own views: its "
            "callers may get 401 from the Location they were given.",
            hint='Leave authentication_classes to the class named by ASYNC_REPLY["ACCESS"].',
            obj=view,
            id="async_reply.W105",
        )
    allowed = view.permission_classes
    is_open = allowed is not None and "AllowAny" in {each.__name__ for each in allowed}
    if is_open and view.location_access != "signed":
        yield Error(
            f"{view.__name__} lets anonymous callers submit, who could never read the result.",
            hint='Set location_access = "signed", or remove AllowAny from permission_classes.',
            obj=view,
            id="async_reply.E023",
        )


def _overrides(view: type[Any], name: str) -> bool:
    """Whether the project defines `name` on the view, and not REST framework."""
    owner = next(each for each in view.__mro__ if name in vars(each))
    return not owner.__module__.startswith("rest_framework.")
