"""Runs uvicorn in a process of its own, on the tests' database."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import pytest
from django.db import connection

from demo_project.processes import free_port, listens
from tests.concurrency import until


def database_url() -> str:
    """The URL of the tests' database, for another process."""
    settings = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{settings['NAME']}"
    scheme = {"postgresql": "postgres", "mysql": "mysql"}[connection.vendor]
    login = quote(settings["USER"]) + (
        f":{quote(settings['PASSWORD'])}" if settings["PASSWORD"] else ""
    )
    server = f"{settings['HOST'] or '127.0.0.1'}:{settings['PORT'] or 5432}"
    return f"{scheme}://{login}@{server}/{settings['NAME']}"


class Uvicorn:
    """Serves the demo's ASGI application. A test can start and stop it many times."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "uvicorn", "demo_project.asgi:application"]
        settings = {"DJANGO_SETTINGS_MODULE": "tests.settings", "DATABASE_URL": database_url()}
        self._process = subprocess.Popen(
            [*command, "--port", str(self.port)], env={**os.environ, **settings}
        )
        until(lambda: listens(self.port))

    def stop(self, signum: int = signal.SIGTERM) -> int:
        """Stop the server; return its exit code after it has ended."""
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.send_signal(signum)
        try:
            return process.wait(20)
        finally:
            process.kill()
            process.wait()


@contextmanager
def uvicorn() -> Iterator[Uvicorn]:
    pytest.importorskip("uvicorn", reason="needs the extra demo")
    server = Uvicorn()
    server.start()
    try:
        yield server
    finally:
        server.stop()
