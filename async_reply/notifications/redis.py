"""Notifies by Redis's publish and subscribe."""

import threading
import time
from functools import lru_cache
from typing import Any

from async_reply.logs import logger
from async_reply.notifications.base import CHANNEL, POLL_SECONDS, OnChange, pass_on

#: Seconds for which a writer waits for Redis, at most.
TIMEOUT_SECONDS = 0.25
#: Seconds for which all writers of the process leave out Redis after it failed.
PAUSE_SECONDS = 3.0


class _Pause:
    until = 0.0


def publish(url: str, text: str) -> None:
    """Send the message. If Redis is away, one writer waits for the timeout, the next do not."""
    if time.monotonic() < _Pause.until:
        return
    try:
        _client(url).publish(CHANNEL, text)
    except Exception:
        _Pause.until = time.monotonic() + PAUSE_SECONDS
        logger.warning("Operation id=%s not announced", text.split()[0], exc_info=True)


@lru_cache(maxsize=4)
def _client(url: str) -> Any:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return redis.Redis.from_url(
        url,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


def listen(url: str, on_change: OnChange, stop: threading.Event) -> None:
    """Call `on_change` with each id until `stop` is set."""
    import redis

    client: Any = redis.Redis.from_url(url, socket_connect_timeout=POLL_SECONDS)
    with client, client.pubsub() as subscription:
        subscription.subscribe(CHANNEL)
        while not stop.is_set():
            message = subscription.get_message(timeout=POLL_SECONDS)
            if message is None:
                continue
            if message["type"] == "subscribe":
                on_change(None)
            elif message["type"] == "message":
                pass_on(message["data"].decode(errors="replace"), on_change)
