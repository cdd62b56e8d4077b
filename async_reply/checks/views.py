"""Checks a view that submits: its task, attributes, hooks, names and access."""

import difflib
import inspect
from collections.abc import Iterator
from typing import Any

from django.core import checks
from django.core.checks import CheckMessage, Error
from django.utils.module_loading import import_string

from async_reply import conf, tasks
from async_reply.checks.classes import check_classes
from async_reply.checks.discovery import check_module
from async_reply.checks.inputs import check_input
from async_reply.checks.mounted import MIXIN, VIEW, Mounted
from async_reply.inheritance import project_classes
from async_reply.setting_values import Check, is_count

#: Shorter names resemble too many others.
MIN_NAME_LENGTH = 6
MIN_RESEMBLANCE = 0.91
#: The length of a name that lacks a word of another one, as a part of the other's.
MIN_PART = 0.7


def _is_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)


def _is_count_or_none(value: Any) -> bool:
    return value is None or is_count(value)


#: For each attribute: a function that tells whether a value is allowed, and the allowed values.
ATTRIBUTES: dict[str, tuple[Check, str]] = {
    "location_access": (("owner", "signed").__contains__, '"owner" or "signed"'),
    "location_target": (("status", "result").__contains__, '"status" or "result"'),
    "valet_key_scope": (("read", "cancel").__contains__, '"read" or "cancel"'),
    "redirect_status": ((302, 303, None).__contains__, "302, 303 or None"),
    "result_status": (
        lambda value: is_count(value) and 200 <= value < 300,
        "a status 2xx",
    ),
    "operation_headers": (_is_names, 'a list of names, such as ["Operation-Location"]'),
    "retention": (_is_count_or_none, "a whole number of seconds, or None"),
    "max_wait": (_is_count_or_none, "a whole number of seconds, or None"),
    "default_wait": (_is_count_or_none, "a whole number of seconds, or None"),
    "idempotency_key_required": ((True, False).__contains__, "True or False"),
}


def check_view(view: Mounted) -> Iterator[CheckMessage]:
    if view.parent(VIEW):
        yield from _check_task(view)
    yield from _check_attributes(view)
    yield from _check_hooks(view)
    yield from check_names(view.cls, ours=_names(view))
    yield from _check_access(view)
    yield from check_classes(view, hooks=_hooks(view))


def _check_task(view: Mounted) -> Iterator[CheckMessage]:
    task = view.get("task")
    if isinstance(task, tasks.OperationTask):
        yield from check_module(view, task.kind)
        yield from check_input(view, task.kind)
    elif not isinstance(task, property):  # which may need a request
        yield Error(
            f"{view.name}.task is not an operation task.",
            hint="Decorate the function with @operation_task and name it in the view.",
            obj=view.cls,
            id="async_reply.E021",
        )
    if view.get("serializer_class") is None and not view.sets("get_serializer_class"):
        yield Error(
            f"{view.name} has no serializer_class.",
            hint="Name a serializer that validates the request.",
            obj=view.cls,
            id="async_reply.E022",
        )


def _check_attributes(view: Mounted) -> Iterator[CheckMessage]:
    for attribute, (is_allowed, text) in ATTRIBUTES.items():
        value = view.get(attribute)
        # A property needs a request.
        is_computed = hasattr(type(value), "__get__") and not inspect.isroutine(value)
        if not is_computed and not is_allowed(value):
            hint = f"{attribute} is an attribute of {MIXIN}. Give the method another name."
            yield Error(
                f"{view.name}.{attribute} is {value!r}: it takes {text}.",
                hint=hint if inspect.isroutine(value) else None,
                obj=view.cls,
                id="async_reply.E024",
            )


def _check_hooks(view: Mounted) -> Iterator[CheckMessage]:
    """A method of the project that overrides one of ours can be called in the same way."""
    for name, ours in _hooks(view).items():
        if view.get(name) is ours or not _is_incompatible(view, name, ours):
            continue
        parameters = ", ".join(_positional(ours)[1:])
        yield Error(
            f"{view.name}.{name} overrides {MIXIN}.{name}({parameters}), but cannot be called with "
            "these arguments.",
            hint=f"Give it another name. An action keeps its URL by "
            f'@action(url_path="{name}", url_name="{name}").',
            obj=view.cls,
            id="async_reply.E025",
        )


def _is_incompatible(view: Mounted, name: str, ours: Any) -> bool:
    value = view.get(name)
    if not callable(value) or hasattr(value, "mapping"):  # an @action
        return True
    arguments = _positional(ours)
    is_bound = isinstance(inspect.getattr_static(view.cls, name), staticmethod | classmethod)
    try:
        inspect.signature(value).bind(*arguments[is_bound:])
    except TypeError:
        return True
    except ValueError:  # a callable without a signature
        return False
    return False


def _positional(function: Any) -> list[str]:
    """The names of the positional parameters, with `self`."""
    parameters = inspect.signature(function).parameters.values()
    return [
        parameter.name
        for parameter in parameters
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]


def _hooks(view: Mounted) -> dict[str, Any]:
    """Our methods that a project may override or call."""
    hooks = {
        name: value
        for name, value in vars(view.parent(MIXIN)).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }
    parent = view.parent(VIEW)
    return hooks if parent is None else hooks | {"get_input": vars(parent)["get_input"]}


def _names(view: Mounted) -> set[str]:
    parents = filter(None, map(view.parent, (MIXIN, VIEW)))
    names = {
        name for parent in parents for name in (*vars(parent), *inspect.get_annotations(parent))
    }
    return names | {"permission_classes", "authentication_classes", "throttle_classes"}


def check_names(cls: type[Any], *, ours: set[str]) -> Iterator[CheckMessage]:
    """No name of the project's is one of ours with a typing error, which would have no effect."""
    names = [name for name in ours if len(name) >= MIN_NAME_LENGTH and not name.startswith("_")]
    bases = [base for base in cls.__mro__ if base not in project_classes(cls)]
    for name in sorted({name for own in project_classes(cls) for name in vars(own)}):
        if name.startswith("_") or any(hasattr(base, name) for base in bases):
            continue
        near = difflib.get_close_matches(name, names, n=1, cutoff=MIN_RESEMBLANCE) or [
            other for other in names if _lacks_a_word(name, other)
        ]
        if near:
            yield checks.Warning(
                f"{cls.__name__}.{name} means nothing to async_reply.",
                hint=f"Did you mean {near[0]}? If not, silence this check.",
                obj=cls,
                id="async_reply.W116",
            )


def _lacks_a_word(name: str, other: str) -> bool:
    """Whether `name` is `other` without one of its later words, as `result_serializer` is."""
    words = other.split("_")
    shorter = ("_".join(words[:place] + words[place + 1 :]) for place in range(1, len(words)))
    return len(name) >= MIN_PART * len(other) and name in shorter


def _check_access(view: Mounted) -> Iterator[CheckMessage]:
    """Each caller of the view owns what it submits, and the operations' views recognize it."""
    if view.get("location_access") != "owner":
        # Signed links need no credentials. A property needs a request.
        return
    access = import_string(conf.get("ACCESS"))()
    foreign = _foreign(view, access)
    if foreign:
        yield checks.Warning(
            f"{view.name} authenticates by {foreign}, but the operations' own views do not: a "
            "caller may get 401 from its Location.",
            hint="Remove authentication_classes from the view, or add the class to the one that "
            'ASYNC_REPLY["ACCESS"] names.',
            obj=view.cls,
            id="async_reply.W105",
        )
    if _is_unauthenticated(view, access):
        yield checks.Warning(
            f"{view.name} has no authentication classes: all callers are anonymous, and each "
            "submit is refused, since nobody would own the operation.",
            hint='Name classes in REST_FRAMEWORK["DEFAULT_AUTHENTICATION_CLASSES"], or set '
            'location_access = "signed", or override OperationAccess.get_owner.',
            obj=view.cls,
            id="async_reply.W118",
        )
    elif _is_open(view, access):
        yield checks.Warning(
            f"{view.name} has AllowAny, but cannot serve anonymous callers: they pass its "
            "permissions and are then refused, since nobody would own the operation.",
            hint='Set location_access = "signed", or remove AllowAny from permission_classes of '
            "the view or of OperationAccess, or override OperationAccess.get_owner.",
            obj=view.cls,
            id="async_reply.W109",
        )


def _foreign(view: Mounted, access: Any) -> str:
    """The names of the view's authentication classes that the operations' views lack."""
    is_set = view.sets("authentication_classes")
    if view.sets("get_authenticators") or (view.parent(VIEW) and not is_set):
        return ""
    accepted = {type(authenticator) for authenticator in access.get_authenticators()}
    classes = view.get("authentication_classes")
    listed = classes if isinstance(classes, list | tuple) else ()
    return ", ".join(getattr(cls, "__name__", repr(cls)) for cls in listed if cls not in accepted)


def _is_unauthenticated(view: Mounted, access: Any) -> bool:
    """Whether no class authenticates the callers of a submit view, who then own nothing."""
    if type(access).get_owner.__module__ != "async_reply.permissions":
        return False
    if view.parent(VIEW) is None or view.sets("get_authenticators"):
        return False
    if view.sets("authentication_classes"):
        classes = view.get("authentication_classes")
        return isinstance(classes, list | tuple) and not classes
    is_ours = type(access).get_authenticators.__module__ == "async_reply.permissions"
    return is_ours and not access.get_authenticators()


def _is_open(view: Mounted, access: Any) -> bool:
    """Whether a submit view lets in callers who can own nothing.

    Composed permissions (`A | B`) have no name, so they count as closed.
    """
    if type(access).get_owner.__module__ != "async_reply.permissions":
        # The project's own method may give each caller an owner.
        return False
    if view.parent(VIEW) is None or view.sets("get_permissions"):
        # Other actions of the view may be open to all callers.
        return False
    is_set = view.sets("permission_classes")
    classes = view.get("permission_classes") if is_set else access.permission_classes
    listed = classes if isinstance(classes, list | tuple) else ()
    return "AllowAny" in {getattr(cls, "__name__", "") for cls in listed}
