"""One cell of the table: a worker of one pool, with one database and one broker."""

import json
import os
import signal
import subprocess
import time
import uuid
from contextlib import suppress
from importlib import import_module
from typing import Any

import httpx

from demo_project.processes import Process
from tests.stacks.stack import Stack

POOLS = ("prefork", "threads", "solo", "gevent")
LEASE = 3

#: Submits although no broker answers, and prints what workers have written about themselves.
OUTAGE = """
import json, os, time
from django.contrib.auth import get_user_model
from async_reply import services
from async_reply.publishing.broker import breaker
from async_reply.database.clock import DatabaseNow
from async_reply.models import Worker
from demo_project.tasks import sleep
owner = str(get_user_model().objects.get(username="demo").pk)
value = {"seconds": 0, "steps": 1, "outcome": "succeed", "value": "relayed"}
pk = services.submit(sleep, input=value, owner=owner).pk
give_up = time.monotonic() + 15
while not Worker.objects.filter(name=os.environ["WORKER"]).exists():
    assert time.monotonic() < give_up, "the worker does not report that it lives"
    time.sleep(0.1)
workers = Worker.objects.annotate(now=DatabaseNow())
print(json.dumps({
    "operation": str(pk),
    "broker_is_down": breaker.is_open,
    "ages": {worker.name: (worker.now - worker.seen_at).total_seconds() for worker in workers},
}))
"""
NOBODY = "redis://127.0.0.1:1/0"


class Cell:
    """The web server of a stack, and its worker. A test may kill the worker and start another."""

    def __init__(self, stack: Stack, pool: str) -> None:
        self.stack = stack
        self.pool = pool
        self.hostname = f"{pool}@{uuid.uuid4().hex[:8]}"
        self.client: httpx.Client = stack.client()
        self.worker: Process | None = None

    def start(self) -> None:
        """Start a worker if none runs."""
        if self.worker is None:
            options = ("--pool", self.pool, "--hostname", self.hostname)
            self.worker = self.stack.start_worker(*options, name=f"worker-{self.pool}")

    def kill(self) -> None:
        """Send SIGKILL to the worker and its children."""
        if self.worker is not None:
            self.stack.end(self.worker)
            self.worker = None

    def terminate(self, *, within: float, group: bool = False) -> float:
        """Send SIGTERM to the main process, or to its children too; the seconds until its end."""
        assert self.worker is not None
        started = time.monotonic()
        send = os.killpg if group else os.kill
        send(self.worker.popen.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.worker.popen.wait(within)
        seconds = time.monotonic() - started
        self.kill()
        return seconds

    @property
    def driver(self) -> str:
        """The name of the database driver's module, as the demo chooses it."""
        if self.stack.database == "mariadb":
            # PyMySQL offers itself under this name if mysqlclient is not installed.
            return import_module("MySQLdb").__name__
        return {"sqlite": "sqlite3", "postgresql": "psycopg"}[self.stack.database]

    @property
    def log(self) -> str:
        """The log of the workers of this pool."""
        path = self.stack.folder / "logs" / f"worker-{self.pool}.log"
        return path.read_text(errors="replace")

    def submit(self, path: str, **body: Any) -> str:
        """Submit; the status URL."""
        accepted = self.client.post(path, json=body)
        assert accepted.status_code == 202, accepted.text
        return str(accepted.headers["Location"])

    def document(self, url: str) -> dict[str, Any]:
        """The document of the operation, finished or not."""
        document: dict[str, Any] = self.client.get(f"{url}monitor/").json()
        return document

    def submit_without_broker(self) -> dict[str, Any]:
        """Submit from a process that reaches no broker. Returns what OUTAGE prints."""
        output = self.stack.manage(
            "shell", "-v0", "-c", OUTAGE, CELERY_BROKER_URL=NOBODY, WORKER=self.hostname
        )
        figures: dict[str, Any] = json.loads(output.splitlines()[-1])
        return figures

    def clear(self) -> None:
        """Cancel the operations that a failed test has left unfinished."""
        page = self.client.get("/api/operations/", params={"page_size": 100}).json()
        for document in page["results"]:
            if document["finished_at"] is None:
                self.client.delete(document["links"]["self"])

    def close(self) -> None:
        self.kill()
        self.client.close()
