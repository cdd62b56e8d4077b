"""Transports of Celery that wait where no option bounds them, or that cannot count."""

import threading
from typing import Any

from kombu.transport import memory, virtual

#: Where `Slow` waits, and until when: a name that is looked up, a handshake, a lock, a farewell.
waits_at = ""
over = threading.Event()
PATIENCE = 60


def _wait(step: str) -> None:
    if step == waits_at and not over.wait(PATIENCE):
        raise AssertionError("nobody has ended the wait")


class SlowChannel(memory.Channel):
    def _put(self, *args: Any, **kwargs: Any) -> None:
        _wait("sending")
        super()._put(*args, **kwargs)

    def _size(self, queue: str) -> int:
        _wait("counting")
        return int(super()._size(queue))


class Slow(memory.Transport):
    Channel = SlowChannel

    def establish_connection(self) -> Any:
        _wait("opening")
        return super().establish_connection()

    def close_connection(self, connection: Any) -> None:
        _wait("closing")
        super().close_connection(connection)


class Uncounted(memory.Transport):
    """Says 0 whatever it holds, as kombu does for a transport that does not count."""

    class Channel(memory.Channel):
        _size = virtual.AbstractChannel._size


class Spared(memory.Transport):
    """Does not count since it is told not to, as MongoDB's."""

    class Channel(memory.Channel):
        calc_queue_size = False


class Negative(memory.Transport):
    """Says what cannot be, as Google's with its emulator."""

    class Channel(memory.Channel):
        def _size(self, queue: str) -> int:
            return -1


class Failing(memory.Transport):
    """May not count."""

    class Channel(memory.Channel):
        def _size(self, queue: str) -> int:
            raise PermissionError("ACCESS_REFUSED")
