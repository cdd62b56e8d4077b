"""Keeps a row for each living worker, which the worker renews about every ten seconds."""

import os
from datetime import timedelta

from async_reply.database.clock import DatabaseNow
from async_reply.database.identifiers import uuid7
from async_reply.models import Worker
from async_reply.publishing.queues import SEEN_WITHIN

#: The row of a killed worker is deleted after this time. A container that is deployed again has a
#: new name, so no later worker takes the place of the old row.
DEAD_AFTER = timedelta(days=1)


class Presence:
    """The row of one worker. Workers may share a name, so the row has its own id."""

    def __init__(self, *, name: str, concurrency: int, queues: list[str]) -> None:
        self.id = uuid7()
        self._fields = {
            "name": name,
            "pid": os.getpid(),
            "concurrency": concurrency,
            "queues": queues,
        }

    def report(self) -> int:
        """Write that the worker lives. Returns 0: no operation was changed.

        The first report deletes the rows of killed workers of the same name.
        """
        _, is_new = Worker.objects.update_or_create(
            id=self.id, defaults={**self._fields, "seen_at": DatabaseNow()}
        )
        if is_new:
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
