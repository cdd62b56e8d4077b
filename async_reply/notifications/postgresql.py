"""Notifications by PostgreSQL's LISTEN and NOTIFY."""

import threading
from uuid import UUID

from django.db import connections

from async_reply.database import alias, pooling
from async_reply.notifications.base import CHANNEL, TURN, Hint, pass_on


def notify(pk: UUID) -> None:
    with connections[alias()].cursor() as cursor:
        cursor.execute("SELECT pgnotify(%s, %s)", [CHANNEL, str(pk)])


def listen(hint: Hint, stop: threading.Event) -> None:
    connection = pooling.copy()
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"LISTEN {CHANNEL}")
        hint(None)
        while not stop.is_set():
            for notice in connection.connection.notifies(timeout=TURN):
                pass_on(notice.payload, hint)
    finally:
        connection.close()
