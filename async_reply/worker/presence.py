"""Keeps a row for each living worker, which the worker renews about every ten seconds."""

import os
import socket
from datetime import timedelta
from typing import Any

from async_reply.database.clock import DatabaseNow
from async_reply.database.identifiers import uuid7
from async_reply.models import Worker
from async_reply.publishing import routing
from async_reply.publishing.broker import breaker
from async_reply.publishing.queues import SEEN_WITHIN
from async_reply.tasks import BOOT_ID

#: The row of a killed worker is deleted after this time. A container that is deployed again has a
#: new name, so no later worker takes the place of the old row.
DEAD_AFTER = timedelta(days=1)


class Presence:
    """The row of one worker. Workers may share a name, so the row has its own id."""

    def __init__(self, *, name: str, concurrency: int, queues: list[str]) -> None:
        self.id = uuid7()
        self._fields: dict[str, Any] = {
            "name": name,
            "host": socket.gethostname()[:255],
            "boot_id": BOOT_ID,
            "pid": os.getpid(),
            "concurrency": concurrency,
            "queues": queues,
            "kinds": routing.kinds(),
        }

    def report(self, *, queues: list[str] | None = None, concurrency: int = 0) -> int:
        """Write that the worker lives, and its `queues` and `concurrency` if they are known.

        Returns 0: no operation was changed. The first report deletes the rows of killed workers of
        the same name.
        """
        if queues is not None:
            self._fields["queues"] = queues
        if concurrency:
            self._fields["concurrency"] = concurrency
        changing = {
            "queues": self._fields["queues"],
            "concurrency": self._fields["concurrency"],
            "seen_at": DatabaseNow(),
            "broker_down_since": breaker.down_since,
        }
        if not Worker.objects.filter(id=self.id).update(**changing):
            Worker.objects.create(id=self.id, **{**self._fields, **changing})
            killed = Worker.objects.filter(seen_at__lt=DatabaseNow() - SEEN_WITHIN)
            killed.filter(name=self._fields["name"]).delete()
        return 0

    def delete(self) -> None:
        """Delete the row, since a worker that was stopped must not look like one that died."""
        Worker.objects.filter(id=self.id).delete()


def delete_dead() -> int:
    """Delete the rows of workers not seen for a day. Returns 0: no operation was changed."""
    Worker.objects.filter(seen_at__lt=DatabaseNow() - DEAD_AFTER).delete()
    return 0
