"""Checks each key of ASYNC_REPLY, and the class, storage and functions that keys name."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.core.files.storage import storages
from django.utils.module_loading import import_string

from async_reply import conf, storage
from async_reply.checks.classes import is_list
from async_reply.checks.registry import register, register_for_deployment
from async_reply.checks.views import check_names
from async_reply.notifications import announcements

#: Attributes of OperationAccess that hold a list of classes.
LISTS = (
    *("authentication_classes", "permission_classes", "throttle_classes"),
    "poll_throttle_classes",
)
#: Keys whose value holds a secret: a check must not show it.
SECRET = frozenset({"WEBHOOK_KEYS", "WEBHOOK_PROXY"})

Configs = Sequence[AppConfig] | None


@register
def check_settings(app_configs: Configs, **_kwargs: Any) -> list[CheckMessage]:
    """Each key of ASYNC_REPLY exists, and its value is allowed."""
    configured = conf.configured()
    if not isinstance(configured, dict):
        hint = "Write ASYNC_REPLY = {…}."
        return [Error("ASYNC_REPLY is not a dict.", hint=hint, id="async_reply.E010")]
    messages: list[CheckMessage] = []
    for key, value in configured.items():
        if key not in conf.DEFAULTS:
            hint = f"Known keys: {', '.join(sorted(conf.DEFAULTS))}."
            messages.append(
                Error(f'ASYNC_REPLY["{key}"] does not exist.', hint=hint, id="async_reply.E011")
            )
        elif not conf.SETTINGS[key].values.include(value):
            shown = "another value" if key in SECRET else repr(value)
            text = f'ASYNC_REPLY["{key}"] is {shown}: it takes {conf.SETTINGS[key].values.words}.'
            messages.append(Error(text, id="async_reply.E012"))
    return messages or [*_check_references()]


def _check_references() -> Iterator[CheckMessage]:
    if not storage.is_named():
        text = f'ASYNC_REPLY["STORAGE"] names {conf.get("STORAGE")!r}, but STORAGES lacks it.'
        yield Error(text, hint="Add it to STORAGES.", id="async_reply.E013")
    yield from _check_access()
    for key, check_id in (("SIGNED_URL", "async_reply.E016"), ("AROUND_JOB", "async_reply.E019")):
        try:
            import_string(conf.get(key) or "builtins.str")
        except Exception as error:  # noqa: BLE001 a module of the project may raise anything
            text = f'ASYNC_REPLY["{key}"] cannot be imported: {_describe(error)}'
            yield Error(text, id=check_id)
    if problem := announcements.problem():
        text = f'ASYNC_REPLY["NOTIFY"] cannot work: {problem}'
        hint = "Correct it. With None the database is asked twenty times a second instead."
        yield Error(text, hint=hint, id="async_reply.E017")


def _check_access() -> Iterator[CheckMessage]:
    try:
        access = import_string(conf.get("ACCESS"))
    except Exception as error:  # noqa: BLE001 a module of the project may raise anything
        text = f'ASYNC_REPLY["ACCESS"] cannot be imported: {_describe(error)}'
        yield Error(text, id="async_reply.E014")
        return
    # The bases are compared by name, since a worker must not import REST framework.
    bases = {f"{base.__module__}.{base.__name__}" for base in getattr(access, "__mro__", ())}
    if conf.DEFAULTS["ACCESS"] not in bases:
        text = f'ASYNC_REPLY["ACCESS"] names {access!r}, which is no OperationAccess.'
        hint = f"Name a class that inherits from {conf.DEFAULTS['ACCESS']}."
        yield Error(text, hint=hint, id="async_reply.E018")
        return
    for name in LISTS:
        if getattr(access, name) is not None and not is_list(getattr(access, name)):
            text = f"{access.__name__}.{name} is no list of classes: each request is answered 500."
            hint = "Write a list or tuple of classes, without brackets behind them."
            yield Error(text, hint=hint, obj=access, id="async_reply.E031")
    ours = next(cls for cls in access.__mro__ if cls.__module__ == "async_reply.permissions")
    yield from check_names(access, ours=set(vars(ours)))


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


@register_for_deployment
def check_storage(app_configs: Configs, **_kwargs: Any) -> list[CheckMessage]:
    """`check --deploy`: operations' files are not published, nor read into memory as a whole."""
    messages: list[CheckMessage] = []
    if not storage.is_named():
        return messages
    # S3 of django-storages keeps whole objects in memory by default, which is 0.
    if getattr(storages[conf.get("STORAGE")], "max_memory_size", None) == 0:
        messages.append(
            checks.Warning(
                "The storage reads the whole of each file of an operation into memory.",
                hint="Set its max_memory_size (AWS_S3_MAX_MEMORY_SIZE) to a few mebibytes.",
                id="async_reply.W108",
            )
        )
    if conf.get("STORAGE") != "default":
        return messages
    return [
        *messages,
        checks.Warning(
            "Inputs and results of operations are stored in the default storage. Many projects "
            "publish this storage below MEDIA_URL.",
            hint='Add a private storage to STORAGES and name it in ASYNC_REPLY["STORAGE"].',
            id="async_reply.W104",
        ),
    ]
