"""Each key of ASYNC_REPLY, and what it names."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.core.checks import CheckMessage, Error, register
from django.core.files.storage import storages
from django.utils.module_loading import import_string

from async_reply import conf, storage
from async_reply.checks.views import check_names
from async_reply.notifications import announcements

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
        elif not conf.SETTINGS[key].values.include(value):
            text = f'ASYNC_REPLY["{key}"] is {value!r}: it takes {conf.SETTINGS[key].values.words}.'
            found.append(Error(text, id="async_reply.E012"))
    return found or [*_check_references()]


def _check_references() -> Iterator[CheckMessage]:
    if not storage.is_named():
        text = f'ASYNC_REPLY["STORAGE"] names {conf.get("STORAGE")!r}, which STORAGES lacks.'
        yield Error(text, hint="Add it to STORAGES.", id="async_reply.E013")
    yield from _check_access()
    try:
        import_string(conf.get("SIGNED_URL") or "builtins.str")
    except Exception as error:  # noqa: BLE001 whatever a module of the project does
        text = f'ASYNC_REPLY["SIGNED_URL"] cannot be imported: {_said(error)}'
        yield Error(text, id="async_reply.E016")
    if problem := announcements.problem():
        text = f'ASYNC_REPLY["NOTIFY"] cannot work: {problem}'
        hint = "Mend it, or set it to None: the database is then asked ten times a second."
        yield Error(text, hint=hint, id="async_reply.E017")


def _check_access() -> Iterator[CheckMessage]:
    try:
        found = import_string(conf.get("ACCESS"))
    except Exception as error:  # noqa: BLE001 whatever a module of the project does
        text = f'ASYNC_REPLY["ACCESS"] cannot be imported: {_said(error)}'
        yield Error(text, id="async_reply.E014")
        return
    # Told by name: importing REST framework costs a worker.
    bases = {f"{each.__module__}.{each.__name__}" for each in getattr(found, "__mro__", ())}
    if conf.DEFAULTS["ACCESS"] not in bases:
        text = f'ASYNC_REPLY["ACCESS"] names {found!r}, which is no OperationAccess.'
        hint = f"Name a class that inherits from {conf.DEFAULTS['ACCESS']}."
        yield Error(text, hint=hint, id="async_reply.E018")
        return
    ours = next(cls for cls in found.__mro__ if cls.__module__ == "async_reply.permissions")
    yield from check_names(found, known=set(vars(ours)))


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


@register("async_reply", deploy=True)
def check_storage(app_configs: Configs, **_kwargs: Any) -> list[CheckMessage]:
    """Files of operations are not in the folder that web servers publish, nor read into memory."""
    found: list[CheckMessage] = []
    if not storage.is_named():
        return found
    used = storages[conf.get("STORAGE")]
    # django-storages' S3: 0, its default, keeps whole objects in memory.
    if getattr(used, "max_memory_size", None) == 0:
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
