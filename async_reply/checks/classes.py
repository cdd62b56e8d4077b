"""Checks the classes and handlers of a view that submits. A wrong one is a 500 at each request."""

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error
from django.utils.module_loading import import_string

from async_reply import conf
from async_reply.checks.mounted import VIEW, Mounted

#: Attributes that hold a list of classes.
LISTS = (
    *("authentication_classes", "permission_classes", "throttle_classes"),
    *("parser_classes", "renderer_classes"),
)
SERIALIZERS = ("serializer_class", "result_serializer_class")
HANDLERS = ("get", "post", "put", "patch", "delete", "dispatch")
#: Views of this package await their handlers.
AWAITS = "adrf"
WEBHOOKS = "async_reply.contrib.webhooks"


def check_classes(view: Mounted, *, hooks: Iterable[str]) -> Iterator[CheckMessage]:
    yield from _check_serializers(view)
    wrong = [name for name in LISTS if view.sets(name) and not is_list(view.get(name))]
    for name in wrong:
        yield _error(
            view,
            f"{view.name}.{name} is no list of classes",
            "Write a list or tuple of classes, without brackets behind them and without quotes.",
            id="async_reply.E027",
        )
    yield from _check_coroutines(view, hooks)
    if view.get("webhook") and not apps.is_installed(WEBHOOKS):
        yield _error(
            view,
            f"{view.name} has webhook = {view.get('webhook')!r}, and its app is not installed",
            f'Add "{WEBHOOKS}" to INSTALLED_APPS.',
            id="async_reply.E029",
        )
    if "permission_classes" not in wrong:
        yield from _check_queryset(view)


def _error(view: Mounted, text: str, hint: str, *, id: str) -> CheckMessage:
    message = f"{text}: each submit is answered 500."
    return Error(message, hint=hint, obj=view.cls, id=id)


def _check_serializers(view: Mounted) -> Iterator[CheckMessage]:
    for name in SERIALIZERS:
        value = view.get(name)
        # A property needs a request.
        if value is None or isinstance(value, property) or _is_serializer(value):
            continue
        # A serializer may read the database to show itself.
        shown = repr(value) if isinstance(value, type) else f"an instance of {type(value).__name__}"
        yield _error(
            view,
            f"{view.name}.{name} is {shown}, and no serializer class",
            f"Write {name} = ReportRequestSerializer, without brackets and without quotes.",
            id="async_reply.E030",
        )


def _is_serializer(value: Any) -> bool:
    # The class is recognized by name: a worker must not import REST framework.
    bases = {cls.__name__ for cls in getattr(value, "__mro__", ())}
    return isinstance(value, type) and "BaseSerializer" in bases


def is_list(value: Any) -> bool:
    """Whether it is a list of classes. Composed permissions (`A | B`) are callable, too."""
    if isinstance(value, property):
        return True
    return isinstance(value, list | tuple) and all(map(callable, value))


def _check_coroutines(view: Mounted, hooks: Iterable[str]) -> Iterator[CheckMessage]:
    if any(cls.__module__.partition(".")[0] == AWAITS for cls in view.cls.__mro__):
        return
    for name in sorted({*HANDLERS, *hooks, *_actions(view)}):
        if inspect.iscoroutinefunction(view.get(name)):
            yield Error(
                f"{view.name}.{name} is a coroutine: REST framework and this package call it, and "
                "await nothing.",
                hint="Write def instead of async def, and call async code in it with "
                "asgiref.sync.async_to_sync. Under ASGI clients wait outside of views.",
                obj=view.cls,
                id="async_reply.E028",
            )


def _actions(view: Mounted) -> list[str]:
    """The names of the view's methods that are an @action."""
    return [
        name
        for cls in view.cls.__mro__
        for name, value in vars(cls).items()
        if hasattr(value, "mapping") and inspect.isroutine(value)
    ]


def _check_queryset(view: Mounted) -> Iterator[CheckMessage]:
    """Permissions of a model find their model by the view's queryset."""
    if view.parent(VIEW) is None or view.sets("queryset", "get_queryset", "get_permissions"):
        return
    if view.sets("permission_classes"):
        classes = view.get("permission_classes")
        rules = [cls() for cls in classes] if isinstance(classes, list | tuple) else []
    else:
        access = import_string(conf.get("ACCESS"))()
        if type(access).get_permissions.__module__ != "async_reply.permissions":
            return  # it may need a request
        rules = access.get_permissions()
    needy = [type(rule).__name__ for rule in _parts(rules) if _needs_queryset(rule)]
    for name in needy[:1]:
        yield _error(
            view,
            f"{view.name} has {name}, but no queryset",
            "Set queryset = Model.objects.all() on the view: a submit then needs the permission "
            "to add this model. Or set permission_classes on the view.",
            id="async_reply.E026",
        )


def _parts(rules: Iterable[Any]) -> Iterator[Any]:
    """The permissions, and those that are composed (`A | B`)."""
    for rule in rules:
        yield rule
        yield from _parts(getattr(rule, name) for name in ("op1", "op2") if hasattr(rule, name))


def _needs_queryset(rule: Any) -> bool:
    # The class is recognized by name: a worker must not import REST framework.
    bases: dict[str, Any] = {cls.__name__: cls for cls in type(rule).__mro__}
    base = bases.get("DjangoModelPermissions")
    return base is not None and getattr(type(rule), "has_permission", None) is base.has_permission
