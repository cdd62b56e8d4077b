"""Tells what a project's class sets itself from what it inherits from frameworks and from us."""

from typing import Any

FRAMEWORKS = ("async_reply.", "rest_framework.", "django.", "builtins.")


def project_classes(cls: type[Any]) -> list[type[Any]]:
    """The project's own classes among `cls` and its bases, in the order of `__mro__`."""
    return [base for base in cls.__mro__ if not f"{base.__module__}.".startswith(FRAMEWORKS)]


def is_set_by_project(cls: type[Any], *names: str) -> bool:
    """Whether the project sets one of `names` on `cls` or on a base of its own."""
    return any(name in vars(base) for base in project_classes(cls) for name in names)
