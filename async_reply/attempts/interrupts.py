"""How a job is stopped from outside: at its next call, or in the middle of what it does."""

import mmap
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

from async_reply.exceptions import JobInterrupted

# Celery's pool uses the first for soft time limits; the second is free in its children.
SIGNAL = signal.SIGUSR2


def ends_process(error: BaseException) -> bool:
    """Whether a pool's handler of a signal raised `error` to end a process in the midst of a job.

    Celery's pool exits by a code that names the signal: SIGTERM, SIGQUIT where REMAP_SIGTERM says
    so, SIGHUP with a closing terminal.
    """
    code = error.code if isinstance(error, SystemExit) else None
    return isinstance(code, int) and code + 256 in signal.valid_signals()


class Flag:
    """A byte that a process shares with the children it forks afterwards."""

    def __init__(self) -> None:
        self._byte = mmap.mmap(-1, 1)

    def is_set(self) -> bool:
        return self._byte[0] == 1

    def set(self) -> None:
        self._byte[0] = 1

    def clear(self) -> None:
        self._byte[0] = 0


#: Set in a worker that was told to stop; its children read it, whom Celery does not tell.
stopping = Flag()


class Interruptible(Protocol):
    """Whoever knows what a job is to be told."""

    interruption: type[JobInterrupted] | None


class Target:
    """A job that may be interrupted between any two of its instructions, once.

    Only the main thread of a process can be: elsewhere the job hears at its next call.
    """

    def __init__(self, claim: Interruptible) -> None:
        self._claim = claim
        self._thread = threading.current_thread()
        self._is_exposed = False
        self._was_hit = False

    @contextmanager
    def exposed(self) -> Iterator[None]:
        """Be interruptible inside the block and nowhere else: the next job is never hit."""
        global _target
        if self._thread is not threading.main_thread():
            yield
            return
        if signal.getsignal(SIGNAL) is not _raise:
            # It stays: by default a signal that comes late would end the process.
            signal.signal(SIGNAL, _raise)
        _target, self._is_exposed = self, True
        try:
            yield
        finally:
            self._is_exposed = False

    def hit(self) -> None:
        """Called by the heartbeat's thread: make the job's thread look."""
        if self._is_exposed and not self._was_hit and self._thread.ident is not None:
            signal.pthread_kill(self._thread.ident, SIGNAL)

    def look(self) -> None:
        """Called in the job's thread, by the signal."""
        if self._is_exposed and not self._was_hit and self._claim.interruption is not None:
            self._was_hit = True
            raise self._claim.interruption


_target: Target | None = None


def _raise(_signum: int, _frame: FrameType | None) -> None:
    if _target is not None:
        _target.look()
