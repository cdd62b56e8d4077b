"""Takes an operation back as soon as the process of its job dies.

Runs in the main process of a worker. Celery loads this module there, by the path in
`OperationTask.Request`, and nowhere else.
"""

import threading
from typing import Any
from uuid import UUID

from celery.worker.request import Request
from django.db import Error

from async_reply import database
from async_reply.attempts import interrupts, rescue
from async_reply.database import pooling
from async_reply.logs import logger
from async_reply.publishing import relay
from async_reply.tasks import process_name
from async_reply.worker import forks


class OperationRequest(Request):
    """Celery's object for a message in the main process. Celery tells it that its process ended."""

    def on_failure(
        self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False
    ) -> Any:
        # With return_ok the process lives, and has reported the failure itself.
        if not return_ok:
            self._take_back(timed_out=False)
        return super().on_failure(exc_info, send_failed_event, return_ok)

    def on_timeout(self, soft: bool, timeout: float) -> Any:
        if not soft:
            self._take_back(timed_out=True)
        return super().on_timeout(soft, timeout)

    def _take_back(self, *, timed_out: bool) -> None:
        """Take the operation back in a thread, since the main process must not wait."""
        try:
            pk = UUID(self.id)
        except ValueError:
            # A project may send a message of its own to our task. It has no operation.
            return
        worker = process_name(self.hostname or "", int(self.worker_pid or 0))
        threading.Thread(
            target=_take_back,
            args=(pk,),
            kwargs={"worker": worker, "timed_out": timed_out},
            name="async_reply-take-back",
            daemon=True,
        ).start()


def _take_back(pk: UUID, *, worker: str, timed_out: bool) -> None:
    pooling.leave_pool()
    try:
        with forks.delayed():
            stopping = interrupts.stopping.is_set()
            if rescue.from_dead_process(pk, worker=worker, timed_out=timed_out, stopping=stopping):
                relay.publish_due()
            else:
                # The process died before it claimed the operation.
                relay.hand_back(pk)
    except Error as error:
        logger.warning("Operation id=%s is left to its lease: %s", pk, error)
    finally:
        database.disconnect()
