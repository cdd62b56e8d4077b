"""Views that submit."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.core import checks
from django.core.checks import CheckMessage, Error
from django.utils.module_loading import import_string

from async_reply import conf, tasks


def _is_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)


#: Attribute -> whether a value is allowed, and what is.
ATTRIBUTES: dict[str, tuple[conf.Check, str]] = {
    "location_access": (("owner", "signed").__contains__, '"owner" or "signed"'),
    "location_target": (("status", "result").__contains__, '"status" or "result"'),
    "valet_key_scope": (("read", "cancel").__contains__, '"read" or "cancel"'),
    "redirect_status": ((302, 303).__contains__, "302 or 303"),
    "operation_headers": (_is_names, 'a list of names, such as ["Operation-Location"]'),
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

    def is_a(self, name: str) -> bool:
        return name in {each.__name__ for each in self.cls.__mro__}

    def overrides(self, name: str) -> bool:
        """Whether the project defines `name`, and not REST framework."""
        owner = next(each for each in self.cls.__mro__ if name in vars(each))
        return not owner.__module__.startswith("rest_framework.")


def check_view(view: Mounted) -> Iterator[CheckMessage]:
    if view.is_a("LongRunningOperationView"):
        yield from _check_task(view)
    yield from _check_attributes(view)
    yield from _check_access(view)


def _check_task(view: Mounted) -> Iterator[CheckMessage]:
    if not isinstance(view.get("task"), tasks.OperationTask):
        yield Error(
            f"{view.name}.task is not an operation task.",
            hint="Decorate the function with @operation_task and name it in the view.",
            obj=view.cls,
            id="async_reply.E021",
        )
    if view.get("serializer_class") is None and not view.overrides("get_serializer_class"):
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
        if not hasattr(type(value), "__get__") and not is_allowed(value):
            yield Error(
                f"{view.name}.{attribute} is {value!r}: it takes {text}.",
                obj=view.cls,
                id="async_reply.E024",
            )


def _check_access(view: Mounted) -> Iterator[CheckMessage]:
    """A caller whom the submit view lets in has an owner, whom the operations' views know."""
    if view.get("location_access") == "signed":
        return
    access = import_string(conf.get("ACCESS"))()
    foreign = _foreign(view.get("authentication_classes"), access)
    if foreign:
        yield checks.Warning(
            f"{view.name} authenticates by {foreign}, which the operations' own views do not: its "
            "callers may get 401 from the Location they were given.",
            hint="Leave authentication_classes to the class named by "
            'ASYNC_REPLY["ACCESS"], or add it there.',
            obj=view.cls,
            id="async_reply.W105",
        )
    if _is_open(view.get("permission_classes"), access):
        yield checks.Warning(
            f"{view.name} has no use for AllowAny: anonymous callers pass its permissions and are "
            "then refused, since nobody would own the operation.",
            hint='Set location_access = "signed", or remove AllowAny from permission_classes, '
            "the view's or those of OperationAccess, or override OperationAccess.get_owner.",
            obj=view.cls,
            id="async_reply.W109",
        )


def _foreign(classes: Any, access: Any) -> str:
    """The names of those classes that the operations' views lack."""
    known = {type(each) for each in access.get_authenticators()}
    listed = classes if isinstance(classes, list | tuple) else ()
    return ", ".join(each.__name__ for each in listed if each not in known)


def _is_open(classes: Any, access: Any) -> bool:
    """Whether it lets in callers who own nothing. Composed permissions (`A | B`) have no name."""
    if type(access).get_owner.__module__ != "async_reply.permissions":
        # The project's own may know an owner for everybody.
        return False
    if classes is None:
        classes = [type(each) for each in access.get_permissions()]
    listed = classes if isinstance(classes, list | tuple) else ()
    return "AllowAny" in {getattr(each, "__name__", "") for each in listed}
