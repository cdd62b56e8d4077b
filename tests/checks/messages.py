"""Runs the checks of async_reply alone."""

from contextlib import suppress
from importlib import import_module
from typing import Any

from django.core.checks import CheckMessage, run_checks

with suppress(ImportError):
    # As the demo's URLconf does. Its settings make a schema.
    import_module("async_reply.contrib.spectacular")


def ids(**options: Any) -> list[str]:
    """The ids of the messages of our checks, sorted."""
    options = {"databases": [], **options}
    messages: list[CheckMessage] = run_checks(tags=["async_reply"], **options)
    return sorted(str(message.id) for message in messages)
