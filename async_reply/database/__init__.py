"""The database that holds operations, and the differences between databases."""

from contextlib import suppress

from django.apps import apps
from django.db import connections, router


def alias() -> str:
    """The alias for writing operations. Reads use it too: a replica may be late."""
    return router.db_for_write(apps.get_model("async_reply", "Operation"))


def disconnect() -> None:
    """Close this thread's connection. Errors are ignored: a broken one may raise even here."""
    with suppress(Exception):
        connections[alias()].close()
