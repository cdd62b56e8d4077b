"""Ends processes that must not go on: one that cannot use the database, and a job's forked child.

A worker's process that can neither claim operations nor store their outcomes would take one message
after the other and run none of them. A child that a job forked must not store an outcome for it.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

from billiard.common import TERM_SIGNAL
from billiard.process import current_process
from django.db import Error

from async_reply import database
from async_reply.attempts import surroundings
from async_reply.database import errors, schema
from async_reply.exceptions import DatabaseAway
from async_reply.logs import logger

#: Seconds that handing back may take. Without it the relay finds the operation, only later.
HAND_BACK_SECONDS = 5.0


def is_unusable(error: BaseException) -> bool:
    """Whether `error` is about this process, so that another process could use the database."""
    if surroundings.is_out_of_descriptors():
        return True
    cause = error.__cause__ if isinstance(error, DatabaseAway) else error
    return cause is not None and not errors.is_temporary(cause) and not schema.is_behind(cause)


def is_child_of_worker() -> bool:
    """Whether this process runs one job at a time, and its worker replaces it when it ends."""
    return bool(current_process().name != "MainProcess")


def replace_process(pk: UUID, error: BaseException, *, hand_back: Callable[[UUID], object]) -> None:
    """End this process, and leave the operation to another one.

    Celery replaces a child of prefork, and its main process hands the operation back. With other
    pools the whole worker stops after `hand_back(pk)`, and its supervisor starts a new one.
    """
    logger.error(
        "Operation id=%s goes to another process: this one cannot use the database, and ends",
        pk,
        exc_info=error,
    )
    if is_child_of_worker():
        signal.raise_signal(TERM_SIGNAL)
        return
    # Another thread, since this one may be inside an event loop or a transaction.
    thread = threading.Thread(target=_hand_back, args=(pk, hand_back), name="async_reply-hand-back")
    thread.start()
    thread.join(HAND_BACK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def _hand_back(pk: UUID, hand_back: Callable[[UUID], object]) -> None:
    try:
        hand_back(pk)
    except Error as error:
        logger.warning("Operation id=%s is not handed back: %s", pk, error)
    finally:
        database.disconnect()


def end_forked_child(parent: int, error: BaseException | None = None) -> None:
    """End this process unless it is the process `parent`, which began the attempt.

    A job that forks comes to its end in both processes. The child must neither store an outcome
    nor answer Celery. It exits as Python would after `error`, or after a return.
    """
    if os.getpid() == parent:
        return
    status = 1
    if error is None:
        status = 0
    elif isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    else:
        logger.error("A process that a job had forked ended by an error", exc_info=error)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(status & 255)
