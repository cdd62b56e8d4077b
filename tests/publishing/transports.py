"""Transports for tests: one waits at a given step, others cannot count messages."""

import threading
from typing import Any

from kombu.transport import memory, virtual

#: The step at which `Slow` waits until `over` is set: opening, sending, counting or closing.
waits_at = ""
over = threading.Event()
WAIT_SECONDS = 60


def _wait(step: str) -> None:
    if step == waits_at and not over.wait(WAIT_SECONDS):
        raise AssertionError("no test has set `over`")


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
    """Answers 0 always, like a transport for which kombu has no way to count."""

    class Channel(memory.Channel):
        _size = virtual.AbstractChannel._size


class NotCounting(memory.Transport):
    """Has an option not to count, like that of MongoDB."""

    class Channel(memory.Channel):
        calc_queue_size = False


class Negative(memory.Transport):
    """Answers -1, like that of Google with its emulator."""

    class Channel(memory.Channel):
        def _size(self, queue: str) -> int:
            return -1


class Failing(memory.Transport):
    """Has no permission to count."""

    class Channel(memory.Channel):
        def _size(self, queue: str) -> int:
            raise PermissionError("ACCESS_REFUSED")
