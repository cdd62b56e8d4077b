"""Says in the database which workers live: each writes a row of its own, each ten seconds or so."""

import os
from datetime import timedelta

from async_reply.database.clock import DatabaseNow
from async_reply.database.identifiers import uuid7
from async_reply.models import Worker
from async_reply.publishing.queues import SEEN_WITHIN

#: A container that is deployed anew has another name: the rows of killed ones would stay.
GONE_AFTER = timedelta(days=1)


class Presence:
    """The row of one worker. Its node name is no identity: two on one host may share it."""

    def __init__(self, *, name: str, concurrency: int, queues: list[str]) -> None:
        self.id = uuid7()
        self._says = {
            "name": name,
            "pid": os.getpid(),
            "concurrency": concurrency,
            "queues": queues,
        }

    def report(self) -> int:
        """Write down that the worker lives; 0, since nothing was due.

        The first time it takes the place of those that were killed under its name.
        """
        _, is_new = Worker.objects.update_or_create(
            id=self.id, defaults={**self._says, "seen_at": DatabaseNow()}
        )
        if is_new:
            killed = Worker.objects.filter(seen_at__lt=DatabaseNow() - SEEN_WITHIN)
            killed.filter(name=self._says["name"]).delete()
        return 0

    def leave(self) -> None:
        """Remove the row: a worker that stops is none that has died."""
        Worker.objects.filter(id=self.id).delete()


def forget() -> int:
    """Remove the rows of workers that are gone for good; 0, since no operation was touched."""
    Worker.objects.filter(seen_at__lt=DatabaseNow() - GONE_AFTER).delete()
    return 0
