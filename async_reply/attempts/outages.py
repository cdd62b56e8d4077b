"""Keeps trying while the database is away, so that an outage fails no attempt.

The runner claims and finishes through this module, and a job reads its input through it.
"""

import time
from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from django.db import Error, connections

from async_reply import database
from async_reply.attempts import surroundings
from async_reply.database import alias, errors
from async_reply.database.leases import lease_seconds
from async_reply.exceptions import DatabaseAway
from async_reply.logs import logger

T = TypeVar("T")

#: Seconds between two tries while the database is away.
PAUSE_SECONDS = 0.5


def read_for_job(pk: UUID, action: Callable[[], T]) -> T:
    """Return what `action` returns, for a job that reads; raises DatabaseAway.

    A job cannot mistake DatabaseAway for an error of its own. Inside a transaction of the job the
    database's error is raised as it is.
    """
    try:
        return keep_trying(pk, action)
    except Error as error:
        if connections[alias()].in_atomic_block:
            raise
        raise away(pk) from error


def keep_trying(pk: UUID, action: Callable[[], T]) -> T:
    """Return what `action` returns; try again for a lease while the database is away.

    After any other error of the database there is one more try, in a new session. A try may hang
    for longer than the lease and then fail although the database is back. So the last try always
    begins after the lease.
    """
    give_up = time.monotonic() + lease_seconds()
    had_new_session = False
    while True:
        is_last = time.monotonic() >= give_up
        try:
            return action()
        except Error as error:
            if connections[alias()].in_atomic_block or surroundings.is_out_of_descriptors():
                raise
            if errors.is_temporary(error) and not is_last:
                logger.warning("Operation id=%s database away, tried again", pk, exc_info=True)
                database.disconnect()
                time.sleep(PAUSE_SECONDS)
            elif had_new_session or errors.is_temporary(error) or errors.is_refusal(error):
                raise
            else:
                # An earlier job may have changed the session.
                logger.warning("Operation id=%s tried again in a new session", pk, exc_info=True)
                had_new_session = True
                database.disconnect()


def away(pk: UUID) -> DatabaseAway:
    """The error of an attempt that cannot be stored: it keeps its row until it is rescued."""
    return DatabaseAway(f"Operation {pk} is left to the rescue.")
