"""The demo's web server and worker as child processes that always end."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

STOP_WITHIN = 10.0


class DemoError(Exception):
    """Something the person at the keyboard can do something about; the message says what."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def web_server(port: int) -> list[str]:
    """gunicorn's command line.

    A connection outlives the pauses between polls: closed by the server as the client sends, it
    is reset. URIs of 8,000 octets are what RFC 9110, 4.1, recommends.
    """
    options = ["--workers", "2", "--threads", "8", "--keep-alive", "75"]
    options += ["--limit-request-line", "8190"]
    bind = ["--bind", f"127.0.0.1:{port}"]
    return [sys.executable, "-m", "gunicorn", "demo_project.wsgi", *bind, *options]


def worker(*options: str) -> list[str]:
    """Celery's command line, with further `options` of its own."""
    given = ["--concurrency", "2", "--loglevel", "INFO", *options]
    return [sys.executable, "-m", "celery", "-A", "demo_project", "worker", *given]


class Process:
    """A command in a session of its own, so that Ctrl-C reaches only us; its output is a file."""

    def __init__(
        self,
        name: str,
        command: list[str],
        *,
        logs: Path,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.log = logs / f"{name}.log"
        with self.log.open("ab") as output:
            self.popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment,
                cwd=folder,
            )

    def check(self) -> None:
        """Raise DemoError when the process has ended by itself."""
        if self.popen.poll() is not None:
            raise DemoError(
                f"The {self.name} ended by itself. Its last words, from {self.log}:\n{self.tail()}"
            )

    def tail(self, lines: int = 15) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """SIGTERM to the main process alone, which ends its children; the group if it hangs."""
        if self.popen.poll() is None:
            self.popen.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.popen.wait(STOP_WITHIN)
        self.kill()

    def kill(self) -> None:
        """SIGKILL to the process and its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()


@contextmanager
def running(port: int, *, logs: Path) -> Iterator[list[Process]]:
    """Web server and worker, both stopped at the end whatever happens."""
    if listens(port):
        raise DemoError(f"Port {port} is taken by another program: choose one, PORT={port + 1}.")
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _interrupt)
    started: list[Process] = []
    try:
        for name, command in (("web server", web_server(port)), ("worker", worker())):
            started.append(Process(name, command, logs=logs))
        wait_for(lambda: listens(port), processes=started, what="the web server to listen")
        yield started
    finally:
        for process in started:
            process.stop()


def wait_for(
    condition: Callable[[], bool],
    *,
    processes: list[Process],
    what: str,
    seconds: float = 30.0,
) -> None:
    """Return once `condition` holds; DemoError when a process dies or time runs out."""
    give_up = time.monotonic() + seconds
    while not condition():
        for process in processes:
            process.check()
        if time.monotonic() > give_up:
            logs = ", ".join(str(process.log) for process in processes)
            raise DemoError(f"Waited {seconds:.0f} s for {what} in vain: read {logs}.")
        time.sleep(0.05)


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def listens(port: int) -> bool:
    """Whether something accepts connections there."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
