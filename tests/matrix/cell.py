"""One cell of the table: a worker of one pool over one database and one broker."""

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

#: Submits where no broker answers, and says what the worker has written about itself.
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
    "ages": {each.name: (each.now - each.seen_at).total_seconds() for each in workers},
}))
"""
NOBODY = "redis://127.0.0.1:1/0"


class Cell:
    """A stack's web server, and the worker that it has for now."""

    def __init__(self, stack: Stack, pool: str) -> None:
        self.stack = stack
        self.pool = pool
        self.hostname = f"{pool}@{uuid.uuid4().hex[:8]}"
        self.client: httpx.Client = stack.client()
        self.worker: Process | None = None

    def start(self) -> None:
        """See that a worker runs."""
        if self.worker is None:
            options = ("--pool", self.pool, "--hostname", self.hostname)
            self.worker = self.stack.start_worker(*options, name=f"worker-{self.pool}")

    def kill(self) -> None:
        """SIGKILL to the worker and its children."""
        if self.worker is not None:
            self.stack.end(self.worker)
            self.worker = None

    def terminate(self, *, within: float, group: bool = False) -> float:
        """SIGTERM to the main process, or to its children as well; the seconds it took to end."""
        assert self.worker is not None
        started = time.monotonic()
        send = os.killpg if group else os.kill
        send(self.worker.popen.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.worker.popen.wait(within)
        took = time.monotonic() - started
        self.kill()
        return took

    @property
    def driver(self) -> str:
        """The module of the database's driver, as the demo chooses it."""
        if self.stack.database == "mariadb":
            # PyMySQL offers itself under that name where mysqlclient is not installed.
            return import_module("MySQLdb").__name__
        return {"sqlite": "sqlite3", "postgresql": "psycopg"}[self.stack.database]

    @property
    def log(self) -> str:
        """What workers of this pool have said."""
        path = self.stack.folder / "logs" / f"worker-{self.pool}.log"
        return path.read_text(errors="replace")

    def submit(self, path: str, **body: Any) -> str:
        """The status URL of what was accepted."""
        accepted = self.client.post(path, json=body)
        assert accepted.status_code == 202, accepted.text
        return str(accepted.headers["Location"])

    def document(self, url: str) -> dict[str, Any]:
        """The operation, whether it is finished or not."""
        found: dict[str, Any] = self.client.get(f"{url}monitor/").json()
        return found

    def submit_without_broker(self) -> dict[str, Any]:
        """Submit from a process that reaches no broker; what it saw in the database."""
        said = self.stack.manage(
            "shell", "-v0", "-c", OUTAGE, CELERY_BROKER_URL=NOBODY, WORKER=self.hostname
        )
        found: dict[str, Any] = json.loads(said.splitlines()[-1])
        return found

    def clear(self) -> None:
        """Cancel what a test that failed has left behind."""
        page = self.client.get("/api/operations/", params={"page_size": 100}).json()
        for each in page["results"]:
            if each["finished_at"] is None:
                self.client.delete(each["links"]["self"])

    def close(self) -> None:
        self.kill()
        self.client.close()
