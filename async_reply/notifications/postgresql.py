"""Notifies by PostgreSQL's LISTEN and NOTIFY."""

import threading

from django.db import connections

from async_reply.database import alias, pooling
from async_reply.notifications.base import CHANNEL, POLL_SECONDS, OnChange, pass_on


def notify(text: str) -> None:
    """Send the message; PostgreSQL delivers it at the commit."""
    with connections[alias()].cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, text])


def listen(on_change: OnChange, stop: threading.Event) -> None:
    """Call `on_change` with each id until `stop` is set, over a connection of its own."""
    connection = pooling.copy()
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"LISTEN {CHANNEL}")
        on_change(None)
        while not stop.is_set():
            for notice in connection.connection.notifies(timeout=POLL_SECONDS):
                pass_on(notice.payload, on_change)
    finally:
        connection.close()
