"""The database that holds operations, and the differences between databases."""

from contextlib import suppress

from django.apps import apps
from django.db import Error, connections, router


def alias() -> str:
    """The alias for writing operations. Reads use it too: a replica may be late."""
    return router.db_for_write(apps.get_model("async_reply", "Operation"))


def answers() -> bool:
    """Whether the database answers. The timeouts of the connection limit the wait."""
    try:
        with connections[alias()].cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return False
    return True


def disconnect() -> None:
    """Close this thread's connection. Errors are ignored: a broken one may raise even here."""
    with suppress(Exception):
        connections[alias()].close()
