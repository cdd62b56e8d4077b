"""The database of operations, and where databases differ."""

from contextlib import suppress

from django.apps import apps
from django.db import connections, router


def alias() -> str:
    """The alias that operations are written to. Reads use it too, since a replica lags behind."""
    return router.db_for_write(apps.get_model("async_reply", "Operation"))


def disconnect() -> None:
    """Close this thread's connection. A broken one may raise even then, which changes nothing."""
    with suppress(Exception):
        connections[alias()].close()
