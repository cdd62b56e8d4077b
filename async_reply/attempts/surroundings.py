"""Undoes the changes that a job makes to its process, so that the next job finds it as before.

Context variables are restored after every job. The active translation, the time zone and the
context of decimals are among them. State of the whole process is restored only after a job in a
main thread (prefork, solo), because other jobs may run in the process beside any other job.
"""

# `signal.getsignal` makes a member of an enum of each number: a twentieth of a job without work.
import _signal  # type: ignore[import-not-found]
import contextvars
import decimal
import locale
import logging
import os
import signal
import socket
import sys
import threading
import time
from asyncio import _get_running_loop, _set_running_loop
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from threading import _DummyThread
from typing import Any, NamedTuple

from async_reply.attempts import interrupts
from async_reply.logs import logger


class ProcessState(NamedTuple):
    """A part of a process's state, with functions that read it and write it."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]


def _umask() -> int:
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def _write_time_zone(name: str | None) -> None:
    if name is None:
        os.environ.pop("TZ", None)
    else:
        os.environ["TZ"] = name
    time.tzset()


#: Signals that are sent to processes, without the one that interrupts jobs.
_SIGNALS = (
    *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGABRT, signal.SIGPIPE),
    *(signal.SIGUSR1, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGCHLD),
    *(signal.SIGXCPU, signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT),
)


def _handlers() -> list[Any]:
    return [_signal.getsignal(number) for number in _SIGNALS]


def _write_handlers(handlers: list[Any]) -> None:
    for number, handler in zip(_SIGNALS, handlers, strict=True):
        if handler is not None and _signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def _has_timer() -> bool:
    return signal.getitimer(signal.ITIMER_REAL)[0] > 0


def _write_timer(had_timer: bool) -> None:
    if not had_timer:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _attribute(owner: Any, name: str) -> ProcessState:
    return ProcessState(name, partial(getattr, owner, name), partial(setattr, owner, name))


HANDLERS = ProcessState("signal handlers", _handlers, _write_handlers)
_locale = partial(locale.setlocale, locale.LC_ALL)

#: Playwright's synchronous interface leaves an event loop marked as running although it is not.
#: Django then refuses each use of the database.
LOOP = ProcessState("running event loop", _get_running_loop, _set_running_loop)

PROCESS = (
    ProcessState("working directory", os.getcwd, os.chdir),
    ProcessState("umask", _umask, os.umask),
    ProcessState("locale", _locale, _locale),
    ProcessState("TZ", partial(os.environ.get, "TZ"), _write_time_zone),
    HANDLERS,
    ProcessState(
        "blocked signals",
        partial(signal.pthread_sigmask, signal.SIG_BLOCK, ()),
        partial(signal.pthread_sigmask, signal.SIG_SETMASK),
    ),
    ProcessState("timer", _has_timer, _write_timer),
    ProcessState("socket timeout", socket.getdefaulttimeout, socket.setdefaulttimeout),
    ProcessState("recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    ProcessState("disabled logging", lambda: logging.root.manager.disable, logging.disable),
    ProcessState("level of logging", lambda: logging.root.level, logging.root.setLevel),
    *(_attribute(sys, name) for name in ("stdin", "stdout", "stderr")),
)


@contextmanager
def preserved() -> Iterator[None]:
    """Restore at the end of the block the state that has changed in it."""
    before = [(state, _read(state)) for state in _states_of_job()]
    try:
        yield
    finally:
        # Celery sets new handlers when a worker stops, so that a second signal ends it at once.
        skipped = (HANDLERS,) if interrupts.stopping.is_set() else ()
        changed = [
            state.name for state, value in before if state not in skipped and _restore(state, value)
        ]
        if changed:
            logger.info("Restored what a job had changed in its process: %s", ", ".join(changed))


def _states_of_job() -> tuple[ProcessState, ...]:
    """The state that only this job could have changed, and no other job at the same time."""
    thread = threading.current_thread()
    if thread is threading.main_thread():
        return (LOOP, *PROCESS)
    # Green threads share an event loop. They have a dummy Thread.
    return () if isinstance(thread, _DummyThread) else (LOOP,)


def _read(state: ProcessState) -> Any:
    """The value; None if it cannot be read, such as a working directory that was removed."""
    try:
        return state.read()
    except Exception:  # noqa: BLE001 the job may have left anything behind
        return None


def _restore(state: ProcessState, value: Any) -> bool:
    """Write the value back; whether it had changed and could be written."""
    if _read(state) == value:
        return False
    with suppress(Exception):
        state.write(value)
        return True
    return False


def call_in_own_context(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call `function` in a copy of the context: the variables that it sets end with the call."""
    return contextvars.copy_context().run(_call, function, *arguments)


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    # The copy holds the same decimal context, which code changes in place.
    decimal.setcontext(decimal.getcontext().copy())
    return function(*arguments)


def clear_running_loop() -> None:
    """Call it before a job: a loop that is marked as running now is left from an earlier task."""
    if LOOP in _states_of_job() and LOOP.read() is not None:
        LOOP.write(None)


def is_out_of_descriptors() -> bool:
    """Whether the process can open no more files. Then it cannot connect to any database."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return True
    return False
