"""Submits, answers, cancels, reruns and deletes operations, with or without HTTP."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from async_reply.services.answers import answer
    from async_reply.services.cancellation import cancel
    from async_reply.services.intake import Submitted, accept, submit
    from async_reply.services.reruns import rerun
    from async_reply.services.retention import delete

__all__ = ["Submitted", "accept", "answer", "cancel", "delete", "rerun", "submit"]

_MODULES = {
    "Submitted": "intake",
    "accept": "intake",
    "answer": "answers",
    "cancel": "cancellation",
    "delete": "retention",
    "rerun": "reruns",
    "submit": "intake",
}


def __getattr__(name: str) -> Any:
    """Import a service when it is first used: `django.setup()` needs none, only `users`."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    service = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = service
    return service
