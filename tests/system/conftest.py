"""The demo with real servers: one stack for each pairing of database and broker."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from demo_project.processes import Process, free_port, listens, wait_for, web_server, worker
from tests.conftest import need_service

ROOT = Path(__file__).parents[2]
LEASE = 2


class Stack:
    """A web server and a worker of the demo, with their own database and broker."""

    def __init__(self, folder: Path, urls: dict[str, str]) -> None:
        self.folder = folder
        clean = {key: value for key, value in os.environ.items() if not key.startswith("COV_")}
        self.environment = {
            **clean,
            "DEMO_DIR": str(folder),
            "DEMO_LEASE": str(LEASE),
            "DJANGO_SETTINGS_MODULE": "demo_project.settings",
            "DATABASE_URL": "",
            "CELERY_BROKER_URL": "",
            **urls,
        }
        self.port = free_port()
        self.processes: list[Process] = []

    def manage(self, *arguments: str) -> str:
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    def start(self, name: str, command: list[str]) -> Process:
        process = Process(name, command, logs=self.folder / "logs", environment=self.environment)
        self.processes.append(process)
        return process

    def start_web(self) -> None:
        self.start("web", web_server(self.port))
        wait_for(lambda: listens(self.port), processes=self.processes, what="the web server")

    def start_asgi(self) -> int:
        """A second web server, uvicorn, beside the first; its port."""
        port = free_port()
        command = [sys.executable, "-m", "uvicorn", "demo_project.asgi:application"]
        self.start("asgi", [*command, "--port", str(port)])
        wait_for(lambda: listens(port), processes=self.processes, what="uvicorn")
        return port

    def start_worker(self) -> Process:
        return self.start("worker", worker())

    def client(self, token: str | None = "demo") -> httpx.Client:
        headers = {"Authorization": f"Token {token}"} if token else {}
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=60)

    def stop(self) -> None:
        for process in self.processes:
            process.stop()


def sqlite_and_files(folder: Path) -> Iterator[dict[str, str]]:
    yield {}


def postgresql_and_redis(folder: Path) -> Iterator[dict[str, str]]:
    need_service("PostgreSQL", port=5432)
    need_service("Redis", port=6379)
    import psycopg

    name = f"async_reply_system_{os.getpid()}"
    admin = "postgresql://postgres@127.0.0.1:5432/postgres"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name}")
        connection.execute(f"CREATE DATABASE {name}")
    yield {
        "DATABASE_URL": f"postgres://postgres@127.0.0.1:5432/{name}",
        "CELERY_BROKER_URL": "redis://127.0.0.1:6379/12",
    }
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


PAIRINGS = {"sqlite+files": sqlite_and_files, "postgresql+redis": postgresql_and_redis}


@pytest.fixture(scope="module", params=PAIRINGS)
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("demo")
    services = PAIRINGS[request.param](folder)
    running = Stack(folder, next(services))
    try:
        running.manage("demo", "--prepare")
        running.start_web()
        running.start_worker()
        yield running
    finally:
        running.stop()
        next(services, None)


@pytest.fixture
def follow() -> Callable[..., httpx.Response]:
    """Poll a status URL until it redirects, then the result; at most `seconds`."""

    def wait(client: httpx.Client, url: str, *, seconds: float = 60) -> httpx.Response:
        give_up = time.monotonic() + seconds
        while (response := client.get(url)).status_code == 200:
            assert time.monotonic() < give_up, response.text
            time.sleep(0.1)
        assert response.status_code == 302
        return client.get(response.headers["Location"])

    return wait


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the big ones, unless they are asked for by name."""
    if "big" in config.getoption("markexpr"):
        return
    left_out = [item for item in items if item.get_closest_marker("big")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
