"""Changes of a job to its process are undone before the next job."""

import _thread
import asyncio
import contextvars
import decimal
import locale
import logging
import os
import random
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone, translation

from async_reply import services
from async_reply.attempts import interrupts, runner, surroundings
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.attempts.reports import Ending
from tests.concurrency import in_thread, until
from tests.project.tasks import echo

VARIABLE: contextvars.ContextVar[int] = contextvars.ContextVar("VARIABLE", default=0)


def umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value


def set_time_zone() -> None:
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()


def stdout() -> Any:
    return sys.stdout


#: Name -> the change that a job makes, and a function that reads the changed state.
CHANGES: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "context variable": (lambda: VARIABLE.set(7), VARIABLE.get),
    "translation": (lambda: translation.activate("de"), translation.get_language),
    "time zone": (lambda: timezone.activate("Asia/Tokyo"), timezone.get_current_timezone_name),
    "decimals": (
        lambda: setattr(decimal.getcontext(), "prec", 3),
        lambda: decimal.getcontext().prec,
    ),
    "new decimals": (
        lambda: decimal.setcontext(decimal.Context(prec=3)),
        lambda: decimal.getcontext().prec,
    ),
    "folder": (lambda: os.chdir("/"), Path.cwd),
    "umask": (lambda: os.umask(0o077), umask),
    "locale": (
        lambda: locale.setlocale(locale.LC_ALL, "C.UTF-8"),
        lambda: locale.setlocale(locale.LC_ALL),
    ),
    "TZ": (set_time_zone, lambda: (os.environ.get("TZ"), time.tzname)),
    "SIGTERM": (
        lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
        lambda: signal.getsignal(signal.SIGTERM),
    ),
    "SIGALRM": (
        lambda: signal.signal(signal.SIGALRM, lambda *_: None),
        lambda: signal.getsignal(signal.SIGALRM),
    ),
    "blocked signals": (
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]),
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ()),
    ),
    "alarm": (
        lambda: signal.setitimer(signal.ITIMER_REAL, 3600),
        lambda: signal.getitimer(signal.ITIMER_REAL),
    ),
    "sockets": (lambda: socket.setdefaulttimeout(3), socket.getdefaulttimeout),
    "recursion": (
        lambda: sys.setrecursionlimit(sys.getrecursionlimit() + 7),
        sys.getrecursionlimit,
    ),
    "disabled logging": (
        lambda: logging.disable(logging.CRITICAL),
        lambda: logging.root.manager.disable,
    ),
    "level of logging": (
        lambda: logging.root.setLevel(logging.CRITICAL),
        lambda: logging.root.level,
    ),
    "stdout": (lambda: setattr(sys, "stdout", None), stdout),
    "stderr": (lambda: setattr(sys, "stderr", None), lambda: sys.stderr),
    "loop": (
        lambda: asyncio._set_running_loop(object()),  # type: ignore[arg-type]
        asyncio._get_running_loop,
    ),
}


def run(function: Callable[[], Any], *, fails: bool = False) -> list[Any]:
    """Run `function` as a job; its return value, in a list."""
    returned: list[Any] = []

    def job(operation: Job) -> None:
        returned.append(function())
        if fails:
            raise ZeroDivisionError

    operation = services.submit(echo)
    report = runner.run(operation.pk, Kind(name=echo.name, function=job), worker="w1")
    assert report.ending is (Ending.FAILED if fails else Ending.SUCCEEDED)
    return returned


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("name", CHANGES)
def test_run__restores_the_process_after_a_job(name: str, fails: bool) -> None:
    change, read = CHANGES[name]
    before = read()
    [changed] = run(lambda: (change(), read())[1], fails=fails)
    assert changed != before
    assert [*run(read), read()] == [before, before]


#: Changes that stay, as documented: they cost too much to detect, or libraries need them.
STAYS: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "environment": (
        lambda: os.environ.__setitem__("LEFT_BEHIND", "7"),
        lambda: os.environ.pop("LEFT_BEHIND", None),
    ),
    "seed": (lambda: random.seed(7), lambda: random.random() == random.Random(7).random()),
    "limits": (
        lambda: resource.setrlimit(
            resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1])
        ),
        lambda: resource.getrlimit(resource.RLIMIT_CORE)[0] == 0,
    ),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", STAYS)
def test_run__does_not_restore_what_is_documented_as_staying(name: str) -> None:
    change, read = STAYS[name]
    run(change)
    assert run(read)[0]


@pytest.mark.django_db(transaction=True)
def test_run__restores_the_folder_after_a_removed_one(tmp_path: Path) -> None:
    def leave() -> None:
        folder = tmp_path / "gone"
        folder.mkdir()
        os.chdir(folder)
        folder.rmdir()

    before = Path.cwd()
    run(leave)
    assert Path.cwd() == before


def test_preserved__beside_other_jobs_restores_the_loop_only(tmp_path: Path) -> None:
    """In a thread of a pool another job may have changed the process."""
    before = Path.cwd()

    def job() -> Any:
        with surroundings.preserved():
            os.chdir(tmp_path)
            asyncio._set_running_loop(object())  # type: ignore[arg-type]
        return Path.cwd(), asyncio._get_running_loop()

    try:
        with in_thread(job) as future:
            assert future.result(30) == (tmp_path, None)
    finally:
        os.chdir(before)


def test_preserved__in_green_threads_does_not_restore_the_shared_loop() -> None:
    loop: Any = object()
    loops: list[Any] = []

    def job() -> None:
        with surroundings.preserved():
            asyncio._set_running_loop(loop)
        surroundings.clear_running_loop()
        loops.append(asyncio._get_running_loop())

    # No Thread is made for it, as for a greenlet.
    _thread.start_new_thread(job, ())
    until(lambda: bool(loops))
    assert loops == [loop]


def test_clear_running_loop__after_an_earlier_task() -> None:
    asyncio._set_running_loop(object())  # type: ignore[arg-type]
    surroundings.clear_running_loop()
    assert asyncio._get_running_loop() is None


def test_is_out_of_descriptors__at_the_limit() -> None:
    assert not surroundings.is_out_of_descriptors()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        assert surroundings.is_out_of_descriptors()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("stops", [False, True])
def test_preserved__keeps_the_handlers_of_a_stopping_worker(stops: bool) -> None:
    """Celery sets new handlers at the first signal, so that a second one ends the worker."""
    before = signal.getsignal(signal.SIGQUIT)
    try:
        with surroundings.preserved():
            signal.signal(signal.SIGQUIT, signal.SIG_IGN)
            if stops:
                interrupts.stopping.set()
        handler = signal.getsignal(signal.SIGQUIT)
    finally:
        interrupts.stopping.clear()
        signal.signal(signal.SIGQUIT, before)
    assert handler == (signal.SIG_IGN if stops else before)
