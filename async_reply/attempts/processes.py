"""Ends a worker's process that can neither claim operations nor store their outcome.

It would take one message after the other, and run none of them.
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

#: Seconds that handing back may take; the operation is found without it, only later.
PATIENCE = 5.0


def is_at_fault(error: BaseException) -> bool:
    """Whether other processes could do what failed here by `error`."""
    if surroundings.is_starved():
        return True
    cause = error.__cause__ if isinstance(error, DatabaseAway) else error
    return cause is not None and not errors.is_temporary(cause) and not schema.is_behind(cause)


def give_up(pk: UUID, error: BaseException, *, hand_back: Callable[[UUID], object]) -> None:
    """Have another process run the operation, and end this one as its supervisor would.

    A child of prefork is ended and replaced, and the main process hands back what it held. Of
    other pools the whole worker stops, so that its supervisor starts it anew.
    """
    logger.error(
        "Operation id=%s goes to another process: this one cannot use the database, and ends",
        pk,
        exc_info=error,
    )
    if current_process().name != "MainProcess":
        signal.raise_signal(TERM_SIGNAL)
        return
    # A thread of its own: this one may be in the midst of an event loop, or of a transaction.
    thread = threading.Thread(target=_hand_back, args=(pk, hand_back), name="async_reply-hand-back")
    thread.start()
    thread.join(PATIENCE)
    os.kill(os.getpid(), signal.SIGTERM)


def _hand_back(pk: UUID, hand_back: Callable[[UUID], object]) -> None:
    try:
        hand_back(pk)
    except Error as error:
        logger.warning("Operation id=%s is not handed back: %s", pk, error)
    finally:
        database.disconnect()


def end_child(parent: int, error: BaseException | None = None) -> None:
    """End this process, should it be one that the job of process `parent` has forked.

    It came to where the job ends, and must not speak for it: neither store an outcome nor answer
    Celery. Its exit status says how it ended.
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
