"""The demo's web servers for benchmarks, each in a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.rivals.__main__ import processor_seconds


class Server:
    """A running web server."""

    def __init__(self, command: list[str], port: int, **environment: str) -> None:
        self.port = port
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command], env={**os.environ, **environment}
        )

    def status(self, field: str) -> int:
        """The number in a field of the kernel's status of the process; memory is in KiB."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))

    def processor_seconds(self) -> float:
        """The processor time so far of the process and its children."""
        return processor_seconds(self.process.pid)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@contextmanager
def uvicorn(*, notify: str, processes: int = 1) -> Iterator[Server]:
    from demo_project.processes import free_port

    port = free_port()
    command = ["uvicorn", "demo_project.asgi:application", "--port", str(port)]
    command += ["--no-access-log", "--log-level", "warning"]
    command += ["--timeout-graceful-shutdown", "5", "--backlog", "4096"]
    command += ["--workers", str(processes)]
    with _running(Server(command, port, NOTIFY=notify)) as server:
        yield server


@contextmanager
def gunicorn() -> Iterator[Server]:
    """One process, whose threads keep their database connections."""
    from demo_project.processes import free_port

    port = free_port()
    command = ["gunicorn", "demo_project.wsgi", "--bind", f"127.0.0.1:{port}"]
    command += ["--workers", "1", "--threads", "8", "--keep-alive", "75", "--log-level", "warning"]
    with _running(Server(command, port, CONN_MAX_AGE="60")) as server:
        yield server


@contextmanager
def _running(server: Server) -> Iterator[Server]:
    from demo_project.processes import listens

    try:
        while not listens(server.port):
            time.sleep(0.1)
        yield server
    finally:
        server.stop()
