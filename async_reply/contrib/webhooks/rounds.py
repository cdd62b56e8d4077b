"""Delivers what is due: up to 20 posts at a time, one to each host, in one task of each worker."""

import fcntl
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

from async_reply.attempts import interrupts
from async_reply.contrib.webhooks import deliveries
from async_reply.contrib.webhooks.deliveries import Message
from async_reply.contrib.webhooks.posts import Answer
from async_reply.tasks import BOOT_ID

MAX_POSTS = 20
#: Seconds for which a task claims deliveries. Then others get its process for a while.
CLAIM_SECONDS = 20.0
#: Seconds between two looks at what is due while posts are under way.
LOOK_SECONDS = 0.25


def deliver() -> bool:
    """Deliver until nothing is due or the time is over; whether another task has to go on."""
    with _turn() as has_turn:
        if not has_turn:
            return False
        _deliver()
    # A hint that came just now found the turn taken, and its task has ended.
    return deliveries.due().exists()


def _deliver() -> None:
    give_up = time.monotonic() + CLAIM_SECONDS
    under_way: dict[Future[Answer], Message] = {}
    with ThreadPoolExecutor(MAX_POSTS, thread_name_prefix="async_reply-webhooks") as executor:
        while True:
            free = MAX_POSTS - len(under_way)
            if free and time.monotonic() < give_up and not interrupts.stopping.is_set():
                hosts = {message.delivery.host for message in under_way.values()}
                for message in deliveries.claim_due(free, busy_hosts=hosts):
                    under_way[executor.submit(message.post)] = message
            if not under_way:
                return
            done, _ = wait(under_way, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                deliveries.record(under_way.pop(future), future.result())


@contextmanager
def _turn() -> Iterator[bool]:
    """A lock that the processes of one worker share; whether this one has it.

    The system frees the lock of a process that is killed.
    """
    path = Path(tempfile.gettempdir()) / f"async_reply-webhooks-{BOOT_ID}"
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
