"""Announcing that a client can see something new: to the processes in which clients wait.

Where the setting `NOTIFY` is None nothing is sent, and those who wait look for themselves.
A notification may be lost or come twice: it only says where to look.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from importlib.util import find_spec
from typing import Any
from uuid import UUID

from django.db import connections, transaction

from async_reply import conf, unpooled
from async_reply.logs import logger
from async_reply.models import database

CHANNEL = "async_reply"
#: Seconds a writer waits for Redis at most, and leaves it alone for after that.
PATIENCE = 0.25
PAUSE = 3.0
#: Seconds after which a listener looks whether it is still wanted.
TURN = 0.5

Hint = Callable[[UUID | None], None]


def announce(pk: UUID, changes: Collection[str]) -> None:
    """Tell of `changes` to the operation's row that a client can see, once they are committed."""
    target = conf.get("NOTIFY")
    if target is None or "version" not in changes:
        return
    if target != "postgresql":
        transaction.on_commit(lambda: _publish(target, pk), using=database(), robust=True)
    elif connections[database()].in_atomic_block:
        _notify(pk)
    else:
        # The change is committed: an error must not look like one of the change.
        transaction.on_commit(lambda: _notify(pk), using=database(), robust=True)


def _notify(pk: UUID) -> None:
    with connections[database()].cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, str(pk)])


def problem() -> str:
    """Why notifications cannot work as the setting says, as far as can be told without trying."""
    target = conf.get("NOTIFY")
    vendor = connections[database()].vendor
    if target == "postgresql" and vendor != "postgresql":
        return f"operations are stored in {vendor}."
    if target == "postgresql" and find_spec("psycopg") is None:
        return "it takes psycopg 3."
    if target not in (None, "postgresql") and find_spec("redis") is None:
        return 'the redis package is missing: pip install "celery[redis]".'
    return ""


class _Pause:
    until = 0.0


def _publish(url: str, pk: UUID) -> None:
    """A Redis that is away costs one writer its patience, and the next ones nothing."""
    if time.monotonic() < _Pause.until:
        return
    try:
        _client(url).publish(CHANNEL, str(pk))
    except Exception:
        _Pause.until = time.monotonic() + PAUSE
        logger.warning("Operation id=%s not announced", pk, exc_info=True)


@lru_cache(maxsize=4)
def _client(url: str) -> Any:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return redis.Redis.from_url(
        url,
        socket_timeout=PATIENCE,
        socket_connect_timeout=PATIENCE,
        retry=Retry(NoBackoff(), 0),
    )


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
    listen = _listen_to_postgresql if target == "postgresql" else partial(_listen_to_redis, target)
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


def _listen_to_postgresql(hint: Hint, stop: threading.Event) -> None:
    connection = unpooled.copy()
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"LISTEN {CHANNEL}")
        hint(None)
        while not stop.is_set():
            for notice in connection.connection.notifies(timeout=TURN):
                _pass_on(notice.payload, hint)
    finally:
        connection.close()


def _listen_to_redis(url: str, hint: Hint, stop: threading.Event) -> None:
    import redis

    with redis.Redis.from_url(url, socket_connect_timeout=TURN) as client, client.pubsub() as heard:
        heard.subscribe(CHANNEL)
        while not stop.is_set():
            message = heard.get_message(timeout=TURN)
            if message is None:
                continue
            if message["type"] == "subscribe":
                hint(None)
            elif message["type"] == "message":
                _pass_on(message["data"].decode(errors="replace"), hint)


def _pass_on(text: str, hint: Hint) -> None:
    with suppress(ValueError):
        hint(UUID(text))
