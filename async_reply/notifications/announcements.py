"""Announcing that a client can see something new: to the processes in which clients wait.

Where the setting `NOTIFY` is None nothing is sent, and those who wait look for themselves.
A notification may be lost or come twice: it only says where to look.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from uuid import UUID

from django.db import connections, transaction

from async_reply import conf
from async_reply.database import alias
from async_reply.logs import logger
from async_reply.notifications import postgresql, redis
from async_reply.notifications.base import Hint


def announce(pk: UUID, changes: Collection[str]) -> None:
    """Tell of `changes` to the operation's row that a client can see, once they are committed."""
    target = conf.get("NOTIFY")
    if target is None or "version" not in changes:
        return
    if target != "postgresql":
        transaction.on_commit(lambda: redis.publish(target, pk), using=alias(), robust=True)
    elif connections[alias()].in_atomic_block:
        postgresql.notify(pk)
    else:
        # The change is committed: an error must not look like one of the change.
        transaction.on_commit(lambda: postgresql.notify(pk), using=alias(), robust=True)


def problem() -> str:
    """Why notifications cannot work as the setting says, as far as can be told without trying."""
    target = conf.get("NOTIFY")
    vendor = connections[alias()].vendor
    if target == "postgresql" and vendor != "postgresql":
        return f"operations are stored in {vendor}."
    if target == "postgresql" and find_spec("psycopg") is None:
        return "it takes psycopg 3."
    if target not in (None, "postgresql") and find_spec("redis") is None:
        return 'the redis package is missing: pip install "celery[redis]".'
    return ""


@contextmanager
def listening(hint: Hint) -> Iterator[None]:
    """Until the end of the block `hint` is called, in another thread, with what is announced.

    After each connect, with None: whatever happened before was not heard.
    """
    target = conf.get("NOTIFY")
    if target is None:
        yield
        return
    stop = threading.Event()
    listen = postgresql.listen if target == "postgresql" else partial(redis.listen, target)
    thread = threading.Thread(
        target=_keep_listening, args=(listen, hint, stop), name="async_reply_listen", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _keep_listening(
    listen: Callable[[Hint, threading.Event], None], hint: Hint, stop: threading.Event
) -> None:
    failing = False
    while not stop.is_set():
        try:
            listen(hint, stop)
        except Exception as error:
            level = logging.DEBUG if failing else logging.WARNING
            logger.log(level, "Waiting: notifications are not heard", exc_info=error)
            failing = True
            stop.wait(1.0)
        else:
            failing = False
