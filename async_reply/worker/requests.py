"""Hears in a worker's main process that the process of a job died, and takes its operation back."""

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
    """A message in the worker's main process, which hears when its job's process is gone."""

    def on_failure(
        self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False
    ) -> Any:
        # With return_ok the process has reported the failure by itself, and goes on.
        if not return_ok:
            self._take_back(timed_out=False)
        return super().on_failure(exc_info, send_failed_event, return_ok)

    def on_timeout(self, soft: bool, timeout: float) -> Any:
        if not soft:
            self._take_back(timed_out=True)
        return super().on_timeout(soft, timeout)

    def _take_back(self, *, timed_out: bool) -> None:
        """Do not wait for the lease; in a thread, since the main process must not wait at all."""
        try:
            pk = UUID(self.id)
        except ValueError:
            # Somebody else's message for a task of ours: there is no operation.
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
        with forks.held_off():
            stopping = interrupts.stopping.is_set()
            if rescue.from_dead_process(pk, worker=worker, timed_out=timed_out, stopping=stopping):
                relay.publish_due()
            else:
                # It ended before it could claim what it was sent.
                relay.leave(pk)
    except Error as error:
        logger.warning("Operation id=%s is left to its lease: %s", pk, error)
    finally:
        database.disconnect()
