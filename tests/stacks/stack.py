"""Runs a web server and a worker of the demo with their own database and broker."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from demo_project.processes import Process, free_port, listens, wait_for, web_server, worker
from tests.stacks.services import BROKERS, DATABASES

ROOT = Path(__file__).parents[2]


class Stack:
    """Processes of the demo with the same environment. Their logs are in `folder`.

    They run the code of `source`: the repository, or a folder with the files of another commit.
    """

    def __init__(
        self, folder: Path, environment: dict[str, str], *, database: str, source: Path = ROOT
    ) -> None:
        self.folder = folder
        self.source = source
        self.database = database
        clean = {key: value for key, value in os.environ.items() if not key.startswith("COV_")}
        self.environment = {**clean, "DEMO_DIR": str(folder), **environment}
        self.port = free_port()
        self.processes: list[Process] = []

    def manage(self, *arguments: str, **environment: str) -> str:
        """Run `manage.py`; its output."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=self.source,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, name: str, command: list[str]) -> Process:
        process = Process(
            name,
            command,
            logs=self.folder / "logs",
            environment=self.environment,
            folder=self.source,
        )
        self.processes.append(process)
        return process

    def start_web(self) -> None:
        self.start("web", web_server(self.port))
        wait_for(lambda: listens(self.port), processes=self.processes, what="the web server")

    def start_asgi(self) -> int:
        """Start uvicorn as a second web server; its port."""
        port = free_port()
        command = [sys.executable, "-m", "uvicorn", "demo_project.asgi:application"]
        self.start("asgi", [*command, "--port", str(port)])
        wait_for(lambda: listens(port), processes=self.processes, what="uvicorn")
        return port

    def start_worker(self, *options: str, name: str = "worker") -> Process:
        return self.start(name, worker(*options))

    def end(self, process: Process) -> None:
        """Kill the process, if it still runs, and its children."""
        self.processes.remove(process)
        process.kill()

    def client(self, token: str | None = "demo") -> httpx.Client:
        headers = {"Authorization": f"Token {token}"} if token else {}
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=60)

    def stop(self) -> None:
        for process in self.processes:
            process.stop()


@contextmanager
def prepared(
    folder: Path,
    *,
    database: str,
    broker: str,
    settings: str,
    lease: float,
    source: Path = ROOT,
) -> Iterator[Stack]:
    """A stack with a web server and the demo's users, but without a worker."""
    pytest.importorskip("gunicorn", reason="needs the extra demo")
    name = f"async_reply_{uuid.uuid4().hex[:12]}"
    with ExitStack() as services:
        running = Stack(
            folder,
            {
                "DJANGO_SETTINGS_MODULE": settings,
                "DEMO_LEASE": str(lease),
                **services.enter_context(DATABASES[database](name)),
                **services.enter_context(BROKERS[broker](name)),
            },
            database=database,
            source=source,
        )
        services.callback(running.stop)
        running.manage("demo", "--prepare")
        running.start_web()
        yield running


def follow(client: httpx.Client, url: str, *, seconds: float = 60) -> httpx.Response:
    """Poll a status URL until it redirects, for `seconds` at most; the answer of the result."""
    give_up = time.monotonic() + seconds
    while (response := client.get(url)).status_code == 200:
        assert time.monotonic() < give_up, response.text
        time.sleep(0.1)
    assert response.status_code == 302
    return client.get(response.headers["Location"])


def wait_until(condition: Callable[[], bool], *, seconds: float = 30) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)
