"""What a job changes in its process is put back when it has ended, for the next job.

Context variables come back with every job: among them the active translation and time zone, and
the context of decimals. What belongs to the whole process comes back where no other job runs in
it beside this one, which is so in a main thread (prefork, solo).
"""

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


class Thing(NamedTuple):
    """Something of a process that is read at once, and put back by what was read."""

    name: str
    read: Callable[[], Any]
    put: Callable[[Any], object]


def _umask() -> int:
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def _put_time_zone(name: str | None) -> None:
    if name is None:
        os.environ.pop("TZ", None)
    else:
        os.environ["TZ"] = name
    time.tzset()


#: Those that somebody sends to a process, without the one that interrupts jobs.
_SIGNALS = (
    *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGABRT, signal.SIGPIPE),
    *(signal.SIGUSR1, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGCHLD),
    *(signal.SIGXCPU, signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT),
)


def _handlers() -> list[Any]:
    return [signal.getsignal(number) for number in _SIGNALS]


def _put_handlers(handlers: list[Any]) -> None:
    for number, handler in zip(_SIGNALS, handlers, strict=True):
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def _has_timer() -> bool:
    return signal.getitimer(signal.ITIMER_REAL)[0] > 0


def _put_timer(had_one: bool) -> None:
    if not had_one:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _attribute(owner: Any, name: str) -> Thing:
    return Thing(name, partial(getattr, owner, name), partial(setattr, owner, name))


HANDLERS = Thing("signal handlers", _handlers, _put_handlers)
_locale = partial(locale.setlocale, locale.LC_ALL)

#: Playwright's synchronous interface leaves a loop that calls itself running, though nothing waits
#: for it; Django then refuses each use of the database.
LOOP = Thing("running event loop", _get_running_loop, _set_running_loop)

PROCESS = (
    Thing("working directory", os.getcwd, os.chdir),
    Thing("umask", _umask, os.umask),
    Thing("locale", _locale, _locale),
    Thing("TZ", partial(os.environ.get, "TZ"), _put_time_zone),
    HANDLERS,
    Thing(
        "blocked signals",
        partial(signal.pthread_sigmask, signal.SIG_BLOCK, ()),
        partial(signal.pthread_sigmask, signal.SIG_SETMASK),
    ),
    Thing("timer", _has_timer, _put_timer),
    Thing("socket timeout", socket.getdefaulttimeout, socket.setdefaulttimeout),
    Thing("recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    Thing("disabled logging", lambda: logging.root.manager.disable, logging.disable),
    Thing("level of logging", lambda: logging.root.level, logging.root.setLevel),
    *(_attribute(sys, name) for name in ("stdin", "stdout", "stderr")),
)


@contextmanager
def kept() -> Iterator[None]:
    """Put back at the end of the block what has changed in it."""
    before = [(thing, _read(thing)) for thing in _own()]
    try:
        yield
    finally:
        # A worker that stops has other handlers by then: a second signal is to end it at once.
        left = (HANDLERS,) if interrupts.stopping.is_set() else ()
        changed = [
            thing.name for thing, value in before if thing not in left and _put_back(thing, value)
        ]
        if changed:
            logger.info("Put back what a job had changed in its process: %s", ", ".join(changed))


def _own() -> tuple[Thing, ...]:
    """What no other job that runs at the same time could have changed."""
    thread = threading.current_thread()
    if thread is threading.main_thread():
        return (LOOP, *PROCESS)
    # Green threads share a loop, and have no Thread of their own.
    return () if isinstance(thread, _DummyThread) else (LOOP,)


def _read(thing: Thing) -> Any:
    """None where it cannot be read: a working directory may have been removed."""
    with suppress(Exception):
        return thing.read()
    return None


def _put_back(thing: Thing, value: Any) -> bool:
    if _read(thing) == value:
        return False
    with suppress(Exception):
        thing.put(value)
        return True
    return False


def isolated(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call `function`; the context variables that it sets are its own."""
    return contextvars.copy_context().run(_call, function, *arguments)


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    # A context of variables holds the one of decimals, which is changed in its place.
    decimal.setcontext(decimal.getcontext().copy())
    return function(*arguments)


def forget_loop() -> None:
    """Before a job begins: what is called running by now, an earlier task has left."""
    if LOOP in _own() and LOOP.read() is not None:
        LOOP.put(None)


def is_starved() -> bool:
    """Whether the process can open nothing more: then no database can be reached, nor is away."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return True
    return False
