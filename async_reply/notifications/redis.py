"""Notifications by Redis's publish and subscribe."""

import threading
import time
from functools import lru_cache
from typing import Any
from uuid import UUID

from async_reply.logs import logger
from async_reply.notifications.base import CHANNEL, TURN, Hint, pass_on

#: Seconds a writer waits for Redis at most, and leaves it alone for after that.
PATIENCE = 0.25


PAUSE = 3.0


class _Pause:
    until = 0.0


def publish(url: str, pk: UUID) -> None:
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


def listen(url: str, hint: Hint, stop: threading.Event) -> None:
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
                pass_on(message["data"].decode(errors="replace"), hint)
