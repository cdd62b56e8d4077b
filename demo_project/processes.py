"""Starts web server and worker as child processes, for the demo's command and for tests.

The processes are stopped at the end, also after an error.
"""

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

#: Seconds that a process has to end by itself, before it is killed.
STOP_WITHIN_SECONDS = 10.0


class DemoError(Exception):
    """An error that the user of the demo can correct. The message says how."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def web_server(port: int) -> list[str]:
    """gunicorn's command line.

    Keep-alive is longer than the pauses between polls. A server that closes the connection while
    the client sends resets it. RFC 9110, section 4.1, recommends support for URIs of 8,000
    octets.
    """
    options = ["--workers", "2", "--threads", "8", "--keep-alive", "75"]
    options += ["--limit-request-line", "8190"]
    bind = ["--bind", f"127.0.0.1:{port}"]
    return [sys.executable, "-m", "gunicorn", "demo_project.wsgi", *bind, *options]


def worker(*options: str) -> list[str]:
    """The command line of a Celery worker, with further `options`."""
    defaults = ["--concurrency", "2", "--loglevel", "INFO"]
    return [sys.executable, "-m", "celery", "-A", "demo_project", "worker", *defaults, *options]


class Process:
    """A command whose output is a file. It has its own session, which Ctrl-C does not reach."""

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
                f"The {self.name} ended by itself. Its last lines in {self.log}:\n{self.tail()}"
            )

    def tail(self, lines: int = 15) -> str:
        """The last lines of the output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """Send SIGTERM to the main process, which ends its children; kill the group if it hangs."""
        if self.popen.poll() is None:
            self.popen.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.popen.wait(STOP_WITHIN_SECONDS)
        self.kill()

    def kill(self) -> None:
        """Send SIGKILL to the process and its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()


@contextmanager
def running(port: int, *, logs: Path) -> Iterator[list[Process]]:
    """Web server and worker, until the end of the block."""
    if listens(port):
        raise DemoError(f"Another program uses port {port}: choose another, PORT={port + 1}.")
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _interrupt)
    processes: list[Process] = []
    try:
        for name, command in (("web server", web_server(port)), ("worker", worker())):
            processes.append(Process(name, command, logs=logs))
        wait_for(lambda: listens(port), processes=processes, what="the web server to listen")
        yield processes
    finally:
        for process in processes:
            process.stop()


def wait_for(
    condition: Callable[[], bool],
    *,
    processes: list[Process],
    what: str,
    seconds: float = 30.0,
) -> None:
    """Return once `condition` holds; DemoError if a process ends or the time is over first."""
    give_up = time.monotonic() + seconds
    while not condition():
        for process in processes:
            process.check()
        if time.monotonic() > give_up:
            logs = ", ".join(str(process.log) for process in processes)
            raise DemoError(f"Waited {seconds:.0f} s for {what}, without success: read {logs}.")
        time.sleep(0.05)


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def listens(port: int) -> bool:
    """Whether a program accepts connections on this port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
