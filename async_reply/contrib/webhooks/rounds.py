"""Delivers what is due: posts beside each other, one to each host, in one task of each worker.

A post that takes longer than a second leaves its place to another. Receivers that hang therefore
hold up others for a second at most, until there are a hundred of them.
"""

import fcntl
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

from async_reply.attempts import interrupts
from async_reply.contrib.webhooks import deliveries
from async_reply.contrib.webhooks.deliveries import Message
from async_reply.contrib.webhooks.posts import Answer
from async_reply.logs import logger
from async_reply.tasks import BOOT_ID

#: Posts at a time that have just begun, and posts at a time. Each takes a thread.
MAX_NEW_POSTS, MAX_POSTS = 20, 100
#: Seconds after which a post is no new one.
NEW_SECONDS = 1.0
#: Seconds for which a task claims deliveries. Then others get its process for a while.
CLAIM_SECONDS = 20.0
#: Seconds between two looks at what is due while posts are under way.
LOOK_SECONDS = 0.25


def deliver(*, go_on: Callable[[], object]) -> None:
    """Deliver until nothing is due or the time is over. `go_on` starts a task for the rest."""
    give_up = time.monotonic() + CLAIM_SECONDS
    with ThreadPoolExecutor(MAX_POSTS, thread_name_prefix="async_reply-webhooks") as executor:
        posts = _Posts(executor)
        with _turn() as has_turn:
            if not has_turn:
                return
            while time.monotonic() < give_up and not interrupts.stopping.is_set():
                posts.begin()
                if not posts.are_under_way:
                    break
                posts.record()
        # Another task need not wait for receivers that hang. And a hint that came just now found
        # the turn taken: its task has ended.
        if deliveries.claimable().exists():
            go_on()
        while posts.are_under_way:
            posts.record()


class _Posts:
    """The posts of one task that are under way."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self._executor = executor
        self._messages: dict[Future[Answer], Message] = {}
        self._began_at: dict[Future[Answer], float] = {}

    @property
    def are_under_way(self) -> bool:
        return bool(self._messages)

    def begin(self) -> None:
        """Claim what is due and post it, as far as there are places."""
        now = time.monotonic()
        new = sum(now - self._began_at[future] < NEW_SECONDS for future in self._messages)
        free = min(MAX_NEW_POSTS - new, MAX_POSTS - len(self._messages))
        if free <= 0:
            return
        hosts = {message.delivery.host for message in self._messages.values()}
        for message in deliveries.claim_due(free, busy_hosts=hosts):
            future = self._executor.submit(message.post)
            self._messages[future], self._began_at[future] = message, now

    def record(self) -> None:
        """Record the answers that came, or that come soon."""
        done, _ = wait(self._messages, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            del self._began_at[future]
            message = self._messages.pop(future)
            try:
                deliveries.record(message, future.result())
            except Exception:
                # Its lease ends, and it is sent again. The other answers are recorded.
                logger.exception("Webhook %s: no record", message.delivery.message_id)


@contextmanager
def _turn() -> Iterator[bool]:
    """A lock that the processes of one worker share; whether this one has it.

    The system frees the lock of a process that is killed. In a container without a folder to write
    to there is no lock. Several processes then deliver, each other deliveries.
    """
    try:
        file = (Path(tempfile.gettempdir()) / f"async_reply-webhooks-{BOOT_ID}").open("w")
    except OSError:
        yield True
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
