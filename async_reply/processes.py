"""Ends a worker's process that can neither claim operations nor store their outcome.

It would take one message after the other, and run none of them.
"""

import os
import signal
import threading
from uuid import UUID

from billiard.common import TERM_SIGNAL
from billiard.process import current_process
from django.db import Error

from async_reply import forks, heartbeats, outages, relay, schema, surroundings
from async_reply.exceptions import DatabaseAway
from async_reply.logs import logger

#: Seconds that handing back may take; the operation is found without it, only later.
PATIENCE = 5.0


def is_at_fault(error: BaseException) -> bool:
    """Whether other processes could do what failed here by `error`."""
    if surroundings.is_starved():
        return True
    cause = error.__cause__ if isinstance(error, DatabaseAway) else error
    return cause is not None and not outages.is_passing(cause) and not schema.is_behind(cause)


def give_up(pk: UUID, error: BaseException) -> None:
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
    thread = threading.Thread(target=_hand_back, args=(pk,), name="async_reply-hand-back")
    thread.start()
    thread.join(PATIENCE)
    os.kill(os.getpid(), signal.SIGTERM)


def _hand_back(pk: UUID) -> None:
    try:
        with forks.held_off():
            relay.leave(pk)
    except Error as error:
        logger.warning("Operation id=%s is not handed back: %s", pk, error)
    finally:
        heartbeats.disconnect()
