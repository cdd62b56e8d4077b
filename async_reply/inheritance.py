"""Tells what a project's class says for itself from what it inherits of frameworks and of us."""

from typing import Any

FOREIGN = ("async_reply.", "rest_framework.", "django.", "builtins.")


def project_classes(cls: type[Any]) -> list[type[Any]]:
    """The classes that `cls` is made of, in order, without Django's, REST framework's and ours."""
    return [each for each in cls.__mro__ if not f"{each.__module__}.".startswith(FOREIGN)]


def is_said(cls: type[Any], *names: str) -> bool:
    """Whether the project has set one of `names` on `cls` or on a class that it inherits from."""
    return any(name in vars(each) for each in project_classes(cls) for name in names)
