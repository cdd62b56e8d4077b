"""What a job changes in its process, and what the next job finds."""

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
from async_reply.attempts.runner import Ending
from tests.concurrency import in_thread, until
from tests.project.tasks import echo

VARIABLE: contextvars.ContextVar[int] = contextvars.ContextVar("VARIABLE", default=0)


def umask() -> int:
    found = os.umask(0)
    os.umask(found)
    return found


def set_time_zone() -> None:
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()


def stdout() -> Any:
    return sys.stdout


#: Name -> what a job does, and what the next one reads.
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
    """What `function` returned inside a job."""
    found: list[Any] = []

    def job(operation: Job) -> None:
        found.append(function())
        if fails:
            raise ZeroDivisionError

    operation = services.submit(echo)
    report = runner.run(operation.pk, Kind(name=echo.name, function=job), worker="w1")
    assert report.ending is (Ending.FAILED if fails else Ending.SUCCEEDED)
    return found


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("name", CHANGES)
def test_run__what_a_job_changes_in_its_process_is_put_back(name: str, fails: bool) -> None:
    change, read = CHANGES[name]
    before = read()
    [changed] = run(lambda: (change(), read())[1], fails=fails)
    assert changed != before
    assert [*run(read), read()] == [before, before]


#: What is documented as staying: it costs too much to know, or what a library needs for good.
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
def test_run__what_is_documented_as_staying_stays(name: str) -> None:
    change, read = STAYS[name]
    run(change)
    assert run(read)[0]


@pytest.mark.django_db(transaction=True)
def test_run__folder_that_is_gone(tmp_path: Path) -> None:
    def leave() -> None:
        folder = tmp_path / "gone"
        folder.mkdir()
        os.chdir(folder)
        folder.rmdir()

    before = Path.cwd()
    run(leave)
    assert Path.cwd() == before


def test_kept__beside_other_jobs_leaves_what_belongs_to_all(tmp_path: Path) -> None:
    """In a thread of a pool: another job may have changed it."""
    before = Path.cwd()

    def job() -> Any:
        with surroundings.kept():
            os.chdir(tmp_path)
            asyncio._set_running_loop(object())  # type: ignore[arg-type]
        return Path.cwd(), asyncio._get_running_loop()

    try:
        with in_thread(job) as found:
            assert found.result(30) == (tmp_path, None)
    finally:
        os.chdir(before)


def test_kept__in_green_threads_leaves_the_loop_they_share() -> None:
    loop: Any = object()
    seen: list[Any] = []

    def job() -> None:
        with surroundings.kept():
            asyncio._set_running_loop(loop)
        surroundings.forget_loop()
        seen.append(asyncio._get_running_loop())

    # As a greenlet: nobody has made a Thread for it.
    _thread.start_new_thread(job, ())
    until(lambda: bool(seen))
    assert seen == [loop]


def test_forget_loop__of_an_earlier_task() -> None:
    asyncio._set_running_loop(object())  # type: ignore[arg-type]
    surroundings.forget_loop()
    assert asyncio._get_running_loop() is None


def test_is_starved__of_descriptors() -> None:
    assert not surroundings.is_starved()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        assert surroundings.is_starved()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("stops", [False, True])
def test_kept__handlers_of_a_worker_that_stops_stay(stops: bool) -> None:
    """Celery exchanges them at the first signal, for the second to mean more."""
    before = signal.getsignal(signal.SIGQUIT)
    try:
        with surroundings.kept():
            signal.signal(signal.SIGQUIT, signal.SIG_IGN)
            if stops:
                interrupts.stopping.set()
        found = signal.getsignal(signal.SIGQUIT)
    finally:
        interrupts.stopping.clear()
        signal.signal(signal.SIGQUIT, before)
    assert found == (signal.SIG_IGN if stops else before)
