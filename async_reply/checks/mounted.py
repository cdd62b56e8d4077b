"""A view of the URLconf that submits, as the checks see it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from async_reply.inheritance import is_set_by_project

#: Our classes are recognized by name: a worker must not import views.
MIXIN = "LongRunningOperationMixin"
VIEW = "LongRunningOperationView"


@dataclass(frozen=True)
class Mounted:
    """A view of the URLconf: its class, and the arguments of `as_view()`."""

    cls: type[Any]
    initkwargs: Mapping[str, Any]
    #: The names of the arguments that its URL gives.
    url_kwargs: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return self.cls.__name__

    def get(self, attribute: str) -> Any:
        return self.initkwargs.get(attribute, getattr(self.cls, attribute, None))

    def parent(self, name: str) -> type[Any] | None:
        """The class of this name among the view's class and its bases."""
        return next((cls for cls in self.cls.__mro__ if cls.__name__ == name), None)

    def sets(self, *names: str) -> bool:
        """Whether the project sets one of `names`, not REST framework or we."""
        return is_set_by_project(self.cls, *names) or any(name in self.initkwargs for name in names)
