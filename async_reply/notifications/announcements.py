"""Announces changes that a client can see, to the processes in which clients wait.

The setting NOTIFY chooses how. If it is None, nothing is sent, and those processes look at the
database more often. A notification may be lost or come twice: it only says which row to read.
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
from async_reply.notifications.base import ONLY_EVENTS, OnChange

#: Seconds after which a listener that failed connects again.
RECONNECT_SECONDS = 1.0


def announce(pk: UUID, changes: Collection[str]) -> None:
    """Announce that columns of the operation's row change, once the change is committed.

    Only changes with a new version are announced: a client can see no others.
    """
    if "version" in changes:
        _send(str(pk))


def announce_events(pk: UUID) -> None:
    """Announce that the operation has new events, once they are committed.

    Only the readers of its log are told. Clients that poll see nothing of an event.
    """
    _send(f"{pk}{ONLY_EVENTS}")


def _send(text: str) -> None:
    """Send this message when the transaction is committed; at once if there is none."""
    target = conf.get("NOTIFY")
    if target is None:
        return
    if target != "postgresql":
        transaction.on_commit(lambda: redis.publish(target, text), using=alias(), robust=True)
    elif connections[alias()].in_atomic_block:
        postgresql.notify(text)
    else:
        # The change is committed. An error here must not look like an error of the change.
        transaction.on_commit(lambda: postgresql.notify(text), using=alias(), robust=True)


def problem() -> str:
    """Why the setting NOTIFY cannot work; '' if no reason is known before it is tried."""
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
def listening(on_change: OnChange) -> Iterator[None]:
    """During the block `on_change` is called, in another thread, with each id that is announced.

    It is called with None after each connect: earlier announcements were not heard.
    """
    target = conf.get("NOTIFY")
    if target is None:
        yield
        return
    stop = threading.Event()
    listen = postgresql.listen if target == "postgresql" else partial(redis.listen, target)
    thread = threading.Thread(
        target=_keep_listening,
        args=(listen, on_change, stop),
        name="async_reply_listen",
        daemon=True,
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _keep_listening(
    listen: Callable[[OnChange, threading.Event], None], on_change: OnChange, stop: threading.Event
) -> None:
    is_failing = False
    while not stop.is_set():
        try:
            listen(on_change, stop)
        except Exception as error:
            level = logging.DEBUG if is_failing else logging.WARNING
            logger.log(level, "Waiting: notifications are not heard", exc_info=error)
            is_failing = True
            stop.wait(RECONNECT_SECONDS)
        else:
            is_failing = False
