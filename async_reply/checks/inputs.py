"""Checks that a view's serializer provides what the function of its task takes.

A submit that does not fit raises TypeError, and its client gets a 500.
"""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from django.core import checks
from django.core.checks import CheckMessage

from async_reply.attempts.kinds import Kind
from async_reply.checks.mounted import Mounted
from async_reply.inheritance import is_set_by_project

#: Methods of a view by which a project makes the input itself.
VIEW_HOOKS = ("post", "submit", "get_input", "get_serializer", "get_serializer_class")
#: Methods of a serializer by which a project changes the validated data.
SERIALIZER_HOOKS = (
    *("validate", "to_internal_value", "run_validation", "is_valid", "validated_data"),
    *("get_fields", "fields", "__init__", "__new__"),
)


class Provided(NamedTuple):
    """The names of inputs: those that each submit has, and those that some submits have."""

    always: frozenset[str]
    sometimes: frozenset[str]


def check_input(view: Mounted, kind: Kind) -> Iterator[CheckMessage]:
    """The function takes each field, and each of its parameters without a default has a field.

    Silent where the project's own code may change the names: a hook of the view or the serializer,
    a field that makes several values, or a function that takes any keyword.
    """
    parameters = _parameters(kind)
    if parameters is None or view.sets(*VIEW_HOOKS):
        return
    provided = _provided(view.get("serializer_class"))
    if provided is None:
        return
    untaken = sorted((provided.always | provided.sometimes) - parameters.keys())
    for name in untaken:
        yield checks.Warning(
            f"The serializer of {view.name} has a field for {name!r}, but the task {kind.name!r} "
            "has no such parameter: a submit with it is answered 500.",
            hint="Add the parameter, or remove the field, or override get_input.",
            obj=view.cls,
            id="async_reply.W113",
        )
    required = {name for name, parameter in parameters.items() if _is_required(parameter)}
    for name in sorted(required - provided.always - view.url_kwargs):
        reason = (
            f"its field in the serializer of {view.name} may be left out"
            if name in provided.sometimes
            else f"the serializer of {view.name} has no field for it"
        )
        yield checks.Warning(
            f"The task {kind.name!r} cannot be called without {name!r}, but {reason}: such a "
            "submit is answered 500.",
            hint="Give the parameter or the field a default, or override get_input.",
            obj=view.cls,
            id="async_reply.W112",
        )


def _parameters(kind: Kind) -> Mapping[str, inspect.Parameter] | None:
    """The parameters of the input; None for a function that takes any input."""
    _operation, *parameters = inspect.signature(kind.function).parameters.values()
    kinds = {parameter.kind for parameter in parameters}
    if not parameters or kinds & {
        inspect.Parameter.VAR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.POSITIONAL_ONLY,
    }:
        return None
    return {parameter.name: parameter for parameter in parameters}


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty


def _provided(cls: Any) -> Provided | None:
    """The names in the validated data of this serializer; None if they cannot be known."""
    if not isinstance(cls, type) or is_set_by_project(cls, *SERIALIZER_HOOKS):
        return None
    try:
        fields = list(cls().fields.values())
    except Exception:  # noqa: BLE001 fields are the project's code, and may need a request
        return None
    always: set[str] = set()
    sometimes: set[str] = set()
    for field in fields:
        if field.read_only:
            continue
        if field.source == "*":
            return None
        name = field.source.partition(".")[0]
        is_given = field.required or _has_default(field)
        (always if is_given else sometimes).add(name)
    return Provided(frozenset(always), frozenset(sometimes - always))


def _has_default(field: Any) -> bool:
    """Whether the field has a default. REST framework marks its absence by a class `empty`."""
    return getattr(field.default, "__name__", "") != "empty"
