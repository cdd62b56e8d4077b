"""Registers the checks with Django, and imports their modules when the checks run.

The modules take tens of milliseconds, and a server that starts runs no checks.
"""

from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module
from typing import Any, TypeVar

from django.core import checks
from django.core.checks import CheckMessage, Tags

MODULES = ("browsers", "celery", "databases", "settings", "urls", "users")

Check = Callable[..., Iterable[CheckMessage]]
AnyCheck = TypeVar("AnyCheck", bound=Check)

_always: list[Check] = []
_of_databases: list[Check] = []
_at_deployment: list[Check] = []


def register(check: AnyCheck) -> AnyCheck:
    """Run the function among the checks with the tag `async_reply`."""
    _always.append(check)
    return check


def register_for_databases(check: AnyCheck) -> AnyCheck:
    """Run the function when Django may connect to databases: `migrate`, `check --database`."""
    _of_databases.append(check)
    return check


def register_for_deployment(check: AnyCheck) -> AnyCheck:
    """Run the function with `check --deploy`."""
    _at_deployment.append(check)
    return check


def _run(registered: list[Check], **options: Any) -> list[CheckMessage]:
    for module in MODULES:
        import_module(f"async_reply.checks.{module}")
    return [message for check in registered for message in check(**options)]


# Django keeps a set of them, so another `django.setup()` adds none.
_run_always = partial(_run, _always)
_run_of_databases = partial(_run, _of_databases)
_run_at_deployment = partial(_run, _at_deployment)


def connect() -> None:
    """Have Django run the checks of all modules."""
    checks.register(_run_always, "async_reply")
    checks.register(_run_of_databases, "async_reply", Tags.database)
    checks.register(_run_at_deployment, "async_reply", deploy=True)
