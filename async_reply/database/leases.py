"""Says for how long an attempt holds its operation between two heartbeats."""

from django.db import connections

from async_reply import conf
from async_reply.database import alias


def lease_seconds() -> float:
    """The setting LEASE. SQLite has one writer at a time, so heartbeats may come late there."""
    configured: float | None = conf.get("LEASE")
    if configured is not None:
        return configured
    return 60.0 if connections[alias()].vendor == "sqlite" else 20.0
