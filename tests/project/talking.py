"""A job that tells what it does, and whose process dies in the middle of it."""

import logging
import os
import time

from async_reply.attempts.jobs import Job
from async_reply.tasks import operation_task

PARTS = 8
log = logging.getLogger(__name__)


@operation_task(name="tests.talk", max_losses=5)
def talk(operation: Job, *, dies: bool) -> list[int]:
    """Emits its parts. `dies`: its process does so in the first two attempts."""
    operation.log(f"attempt {operation.attempt}")
    for part in operation.track(range(PARTS), resume="parts"):
        operation.emit("part", {"number": part, "attempt": operation.attempt})
        log.info("part %s", part)
        time.sleep(0.5)
        if dies and operation.attempt < 3 and part == 2 * operation.attempt:
            os._exit(1)
    return list(range(PARTS))
