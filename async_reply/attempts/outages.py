"""Waiting for a database that is away: what a worker knows of an attempt outlasts an outage."""

import time
from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from django.db import Error, connections

from async_reply import database, lifecycle
from async_reply.attempts import heartbeats, surroundings
from async_reply.database import alias, errors
from async_reply.exceptions import DatabaseAway
from async_reply.logs import logger

T = TypeVar("T")


def read(pk: UUID, action: Callable[[], T]) -> T:
    """What `action` returns, called by a job; raises DatabaseAway, which no job takes for its own.

    Inside a transaction of the job's own an error is the job's.
    """
    try:
        return patiently(pk, action)
    except Error as error:
        if connections[alias()].in_atomic_block:
            raise
        raise DatabaseAway(f"Operation {pk} is left to the rescue.") from error


def patiently(pk: UUID, action: Callable[[], T]) -> T:
    """What `action` returns; while the database is away it is tried again, for about a lease.

    After any other error of the database once, in a new session.
    One try may hang for longer than that and says nothing of a database that is back: the last
    one begins afterwards.
    """
    give_up = time.monotonic() + lifecycle.lease()
    was_spoiled = False
    while True:
        is_last = time.monotonic() >= give_up
        try:
            return action()
        except Error as error:
            if connections[alias()].in_atomic_block or surroundings.is_starved():
                raise
            if errors.is_temporary(error) and not is_last:
                logger.warning("Operation id=%s database away, tried again", pk, exc_info=True)
                database.disconnect()
                time.sleep(heartbeats.TICK_AFTER_ERROR)
            elif was_spoiled or errors.is_temporary(error) or errors.is_refusal(error):
                raise
            else:
                # Its session may be what an earlier job has made of it.
                logger.warning("Operation id=%s tried again in a new session", pk, exc_info=True)
                was_spoiled = True
                database.disconnect()
