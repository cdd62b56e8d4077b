"""Stops a job from outside: the flag of a worker that stops, and a signal between two calls."""

import mmap
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any, Protocol, TypeVar

from async_reply.exceptions import JobInterrupted

# Celery's pool uses SIGUSR1 for soft time limits. SIGUSR2 is free in its children.
SIGNAL = signal.SIGUSR2

Function = TypeVar("Function", bound=Callable[..., Any])
#: Functions that are not interrupted, neither they nor what they call.
_uninterrupted: set[CodeType] = set()


def ends_process(error: BaseException) -> bool:
    """Whether a pool's signal handler raised `error` to end the process in the middle of a job.

    Celery's pool exits with a code that names the signal: SIGTERM, SIGQUIT where REMAP_SIGTERM
    says so, SIGHUP when a terminal closes.
    """
    code = error.code if isinstance(error, SystemExit) else None
    return isinstance(code, int) and code + 256 in signal.valid_signals()


class SharedFlag:
    """A flag that a process shares with the children it forks afterwards."""

    def __init__(self) -> None:
        self._byte = mmap.mmap(-1, 1)

    def is_set(self) -> bool:
        return self._byte[0] == 1

    def set(self) -> None:
        self._byte[0] = 1

    def clear(self) -> None:
        self._byte[0] = 0


#: Set in a worker that was told to stop. Celery tells its main process only, so children read it.
stopping = SharedFlag()


class HasInterruption(Protocol):
    """A claim, or a double of it in tests."""

    interruption: type[JobInterrupted] | None


class InterruptibleJob:
    """A job that may be interrupted once, between any two of its instructions.

    This works in the main thread of a process only. Elsewhere the job hears at its next call.
    """

    def __init__(self, claim: HasInterruption) -> None:
        self._claim = claim
        self._thread = threading.current_thread()
        self._is_allowed = False
        self._was_interrupted = False

    @contextmanager
    def interrupts_allowed(self) -> Iterator[None]:
        """Allow interruptions inside the block only: the next job must not be interrupted."""
        global _current
        if self._thread is not threading.main_thread():
            yield
            return
        if signal.getsignal(SIGNAL) is not _raise_in_job:
            # The handler stays. Without it a late signal would end the process.
            signal.signal(SIGNAL, _raise_in_job)
        _current, self._is_allowed = self, True
        try:
            yield
        finally:
            self._is_allowed = False

    def interrupt(self) -> None:
        """Have the job's thread raise the interruption; the heartbeat's thread calls this."""
        if self._is_allowed and not self._was_interrupted and self._thread.ident is not None:
            signal.pthread_kill(self._thread.ident, SIGNAL)

    def raise_interruption(self) -> None:
        """Raise the interruption, if there is one; the signal handler calls this."""
        if self._is_allowed and not self._was_interrupted and self._claim.interruption is not None:
            self._was_interrupted = True
            raise self._claim.interruption


_current: InterruptibleJob | None = None


def uninterrupted(function: Function) -> Function:
    """Decorate a function of ours that must not be interrupted: the job hears at its next call."""
    _uninterrupted.add(function.__code__)
    return function


def call_interruptibly(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """Call a function of the job from code that is uninterrupted. The function may be interrupted.

    Once it has returned, it is not, so that what it returned is never lost.
    """
    return function(*args, **kwargs)


def _may_interrupt(frame: FrameType | None) -> bool:
    """Whether the code that runs in `frame` may be interrupted: the innermost caller decides."""
    caller = frame
    while caller is not None:
        if caller.f_code is call_interruptibly.__code__:
            return caller is not frame
        if caller.f_code in _uninterrupted:
            return False
        caller = caller.f_back
    return True


def _raise_in_job(_signum: int, frame: FrameType | None) -> None:
    if _current is not None and _may_interrupt(frame):
        _current.raise_interruption()
