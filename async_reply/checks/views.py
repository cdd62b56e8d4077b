"""Views that submit."""

import difflib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.core import checks
from django.core.checks import CheckMessage, Error
from django.utils.module_loading import import_string

from async_reply import conf, tasks
from async_reply.inheritance import is_set_by_project, project_classes

MIXIN = "LongRunningOperationMixin"
VIEW = "LongRunningOperationView"
#: A name that is shorter than that resembles too many others.
SHORTEST = 6
RESEMBLANCE = 0.91


def _is_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_count_or_none(value: Any) -> bool:
    return value is None or _is_count(value)


#: Attribute -> whether a value is allowed, and what is.
ATTRIBUTES: dict[str, tuple[conf.Check, str]] = {
    "location_access": (("owner", "signed").__contains__, '"owner" or "signed"'),
    "location_target": (("status", "result").__contains__, '"status" or "result"'),
    "valet_key_scope": (("read", "cancel").__contains__, '"read" or "cancel"'),
    "redirect_status": ((302, 303).__contains__, "302 or 303"),
    "result_status": (lambda value: _is_count(value) and 200 <= value < 300, "a status 2xx"),
    "operation_headers": (_is_names, 'a list of names, such as ["Operation-Location"]'),
    "retention": (_is_count_or_none, "a whole number of seconds, or None"),
    "max_wait": (_is_count_or_none, "a whole number of seconds, or None"),
    "idempotency_key_required": ((True, False).__contains__, "True or False"),
}


@dataclass(frozen=True)
class Mounted:
    """A view as the URLconf has it: its class, and what `as_view()` was given."""

    cls: type[Any]
    given: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.cls.__name__

    def get(self, attribute: str) -> Any:
        return self.given.get(attribute, getattr(self.cls, attribute, None))

    def parent(self, name: str) -> type[Any] | None:
        """The class of this name that the view inherits from, or is."""
        return next((cls for cls in self.cls.__mro__ if cls.__name__ == name), None)

    def says(self, *names: str) -> bool:
        """Whether the project has set one of `names`, and neither REST framework nor we."""
        return is_set_by_project(self.cls, *names) or any(name in self.given for name in names)


def check_view(view: Mounted) -> Iterator[CheckMessage]:
    if view.parent(VIEW):
        yield from _check_task(view)
    yield from _check_attributes(view)
    yield from _check_hooks(view)
    yield from check_names(view.cls, known=_names(view))
    yield from _check_access(view)


def _check_task(view: Mounted) -> Iterator[CheckMessage]:
    if not isinstance(view.get("task"), tasks.OperationTask):
        yield Error(
            f"{view.name}.task is not an operation task.",
            hint="Decorate the function with @operation_task and name it in the view.",
            obj=view.cls,
            id="async_reply.E021",
        )
    if view.get("serializer_class") is None and not view.says("get_serializer_class"):
        yield Error(
            f"{view.name} has no serializer_class.",
            hint="Name a serializer that validates the request.",
            obj=view.cls,
            id="async_reply.E022",
        )


def _check_attributes(view: Mounted) -> Iterator[CheckMessage]:
    for attribute, (is_allowed, text) in ATTRIBUTES.items():
        value = view.get(attribute)
        # What a property says is not known without a request.
        is_computed = hasattr(type(value), "__get__") and not inspect.isroutine(value)
        if not is_computed and not is_allowed(value):
            renamed = f"{attribute} is an attribute of {MIXIN}: give the method another name."
            yield Error(
                f"{view.name}.{attribute} is {value!r}: it takes {text}.",
                hint=renamed if inspect.isroutine(value) else None,
                obj=view.cls,
                id="async_reply.E024",
            )


def _check_hooks(view: Mounted) -> Iterator[CheckMessage]:
    """A project's override of one of our methods can be called as we call it."""
    for name, ours in _hooks(view).items():
        if view.get(name) is ours or not _is_unlike(view, name, ours):
            continue
        parameters = ", ".join(_positional(ours)[1:])
        yield Error(
            f"{view.name}.{name} takes the place of {MIXIN}.{name}({parameters}), and cannot be "
            "called like it.",
            hint=f"Give it another name; an action keeps its URL by "
            f'@action(url_path="{name}", url_name="{name}").',
            obj=view.cls,
            id="async_reply.E025",
        )


def _is_unlike(view: Mounted, name: str, ours: Any) -> bool:
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
    """The names of its positional parameters, `self` included."""
    parameters = inspect.signature(function).parameters.values()
    return [each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]


def _hooks(view: Mounted) -> dict[str, Any]:
    """The methods that a project may override, or calls."""
    found = {
        name: value
        for name, value in vars(view.parent(MIXIN)).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }
    parent = view.parent(VIEW)
    return found if parent is None else found | {"get_input": vars(parent)["get_input"]}


def _names(view: Mounted) -> set[str]:
    parents = filter(None, map(view.parent, (MIXIN, VIEW)))
    named = {
        name for parent in parents for name in (*vars(parent), *inspect.get_annotations(parent))
    }
    return named | {"permission_classes", "authentication_classes", "throttle_classes"}


def check_names(cls: type[Any], *, known: set[str]) -> Iterator[CheckMessage]:
    """Names of the project's that resemble one of ours: a slip would be without effect."""
    ours = [name for name in known if len(name) >= SHORTEST and not name.startswith("_")]
    base = [each for each in cls.__mro__ if each not in project_classes(cls)]
    for name in sorted({name for each in project_classes(cls) for name in vars(each)}):
        if name.startswith("_") or any(hasattr(each, name) for each in base):
            continue
        near = difflib.get_close_matches(name, ours, n=1, cutoff=RESEMBLANCE)
        if near:
            yield checks.Warning(
                f"{cls.__name__}.{name} means nothing to async_reply.",
                hint=f"Did you mean {near[0]}? If not, silence this check.",
                obj=cls,
                id="async_reply.W116",
            )


def _check_access(view: Mounted) -> Iterator[CheckMessage]:
    """A caller whom the submit view lets in has an owner, whom the operations' views know."""
    if view.get("location_access") != "owner":
        # Signed links need no credentials; what a property says is not known without a request.
        return
    access = import_string(conf.get("ACCESS"))()
    foreign = _foreign(view, access)
    if foreign:
        yield checks.Warning(
            f"{view.name} authenticates by {foreign}, which the operations' own views do not: its "
            "callers may get 401 from the Location they were given.",
            hint="Leave authentication_classes to the class named by "
            'ASYNC_REPLY["ACCESS"], or add it there.',
            obj=view.cls,
            id="async_reply.W105",
        )
    if _is_open(view, access):
        yield checks.Warning(
            f"{view.name} has no use for AllowAny: anonymous callers pass its permissions and are "
            "then refused, since nobody would own the operation.",
            hint='Set location_access = "signed", or remove AllowAny from permission_classes, '
            "the view's or those of OperationAccess, or override OperationAccess.get_owner.",
            obj=view.cls,
            id="async_reply.W109",
        )


def _foreign(view: Mounted, access: Any) -> str:
    """The names of the view's authentication classes that the operations' views lack."""
    is_said = view.says("authentication_classes")
    if view.says("get_authenticators") or (view.parent(VIEW) and not is_said):
        return ""
    known = {type(authenticator) for authenticator in access.get_authenticators()}
    classes = view.get("authentication_classes")
    listed = classes if isinstance(classes, list | tuple) else ()
    return ", ".join(getattr(cls, "__name__", repr(cls)) for cls in listed if cls not in known)


def _is_open(view: Mounted, access: Any) -> bool:
    """Whether a submit view lets in callers who own nothing.

    Composed permissions (`A | B`) have no name.
    """
    if type(access).get_owner.__module__ != "async_reply.permissions":
        # The project's own may know an owner for everybody.
        return False
    if view.parent(VIEW) is None or view.says("get_permissions"):
        # Other actions of the view may be for anybody.
        return False
    is_said = view.says("permission_classes")
    classes = view.get("permission_classes") if is_said else access.permission_classes
    listed = classes if isinstance(classes, list | tuple) else ()
    return "AllowAny" in {getattr(cls, "__name__", "") for cls in listed}
