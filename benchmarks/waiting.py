"""Thousands of clients that wait on one real server process: what they cost, how soon they know.

    DATABASE_URL=postgres://… python -m benchmarks.waiting [--clients 4000] [--wake NAME …]

The database is created, and dropped at the end. Clients speak HTTP/1.1 over loopback and measure
from the commit's return in this process to the bytes that tell of it, in this process too.
"""

import argparse
import asyncio
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import psycopg

T = TypeVar("T")

WAKES = {"LISTEN/NOTIFY": "postgresql", "Redis": "redis://127.0.0.1:6379/7", "none": ""}
DATABASE = "ar_waiting_bench"
SINGLES = 200
CROWD = 100
CROWDS = 5
IDLE = 62.0
COLUMNS = (
    "wake by",
    "clients",
    "KiB each",
    "one told p50",
    "p99 ms",
    f"{CROWD} on one, last",
    "idle CPU",
    "threads",
    "connections",
)


class Client(asyncio.Protocol):
    """One connection that asks for one thing, and notes when the word `succeeded` comes."""

    def __init__(self, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.request = request
        self.parked = loop.create_future()
        self.told: asyncio.Future[float] = loop.create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        if b"succeeded" in data and not self.told.done():
            self.told.set_result(time.perf_counter())
        elif b"data: " in data and not self.parked.done():
            self.parked.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        for future in (self.parked, self.told):
            if not future.done():
                future.set_exception(ConnectionError("the server hung up"))
                future.exception()


class Server:
    """uvicorn with the demo, as its own process."""

    def __init__(self, *, port: int, notify: str) -> None:
        self.port = port
        command = [sys.executable, "-m", "uvicorn", "demo_project.asgi:application"]
        command += ["--port", str(port), "--no-access-log", "--log-level", "warning"]
        command += ["--timeout-graceful-shutdown", "5", "--backlog", "4096"]
        self.process = subprocess.Popen(command, env={**os.environ, "NOTIFY": notify})

    def status(self, field: str) -> int:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@asynccontextmanager
async def serving(notify: str) -> AsyncIterator[Server]:
    from demo_project.processes import free_port, listens

    server = Server(port=free_port(), notify=notify)
    try:
        while not listens(server.port):
            await asyncio.sleep(0.1)
        yield server
    finally:
        server.stop()


def recreate(url: str, *, leave: bool) -> str:
    """Drop the benchmark's database and, unless at the end, make it anew; its URL."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        if not leave:
            connection.execute(f"CREATE DATABASE {DATABASE}")
    return urlunsplit(urlsplit(url)._replace(path=f"/{DATABASE}"))


def prepare(number: int) -> tuple[str, list[UUID]]:
    """A token, and as many running operations of its user's."""
    from django.contrib.auth.models import User
    from rest_framework.authtoken.models import Token

    from async_reply.models import Operation
    from async_reply.status import Status

    user, _ = User.objects.get_or_create(username="ada")
    token, _ = Token.objects.get_or_create(user=user)
    fields = {"kind": "benchmark", "owner": str(user.pk), "status": Status.RUNNING, "attempt": 1}
    made = Operation.objects.bulk_create([Operation(**fields) for _ in range(number)])
    return token.key, [operation.pk for operation in made]


def succeed(pk: UUID) -> float:
    """Finish an operation; when its commit was there, on disk and for all to see."""
    from django.db import transaction

    from async_reply import lifecycle
    from async_reply.models import Operation

    operation = Operation.objects.get(pk=pk)
    with transaction.atomic():
        assert lifecycle.succeed(operation)
    return time.perf_counter()


class Load:
    """The clients, and a thread that does what workers do."""

    def __init__(self, server: Server, token: str) -> None:
        self.server = server
        self.token = token
        self.pool = ThreadPoolExecutor(1)
        self.clients: list[Client] = []

    async def in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.pool, function, *arguments)

    async def connect(self, pks: list[UUID]) -> list[Client]:
        """A reader of each operation's events, twenty connecting at a time."""
        gate = asyncio.Semaphore(20)
        made = await asyncio.gather(*(self._connect(pk, gate) for pk in pks))
        self.clients += made
        return made

    async def _connect(self, pk: UUID, gate: asyncio.Semaphore) -> Client:
        lines = [
            f"GET /api/operations/{pk}/events/ HTTP/1.1",
            "Host: 127.0.0.1",
            f"Authorization: Token {self.token}",
            "Accept: text/event-stream",
        ]
        request = "\r\n".join([*lines, "", ""]).encode()
        async with gate:
            loop = asyncio.get_running_loop()
            _, client = await loop.create_connection(
                lambda: Client(request), "127.0.0.1", self.server.port
            )
            await client.parked
        return client

    async def finish(self, pk: UUID, clients: list[Client]) -> float:
        """Milliseconds until the last of `clients` has been told."""
        finished = await self.in_thread(succeed, pk)
        told = await asyncio.gather(*(client.told for client in clients))
        return (max(told) - finished) * 1000

    def close(self) -> None:
        for client in self.clients:
            client.transport.close()


async def measure(wake: str, clients: int, url: str) -> list[str]:
    from django.conf import settings

    settings.ASYNC_REPLY["NOTIFY"] = WAKES[wake] or None
    async with serving(WAKES[wake]) as server:
        load = Load(server, "")
        load.token, pks = await load.in_thread(prepare, clients + 1)
        await load.finish(pks[-1], await load.connect([pks.pop()]))  # warm
        before = server.status("VmRSS")
        readers = await load.connect(pks)
        await asyncio.sleep(2)
        size = (server.status("VmRSS") - before) / clients
        threads, held = server.status("Threads"), await load.in_thread(connections, url)
        used = server.cpu()
        await asyncio.sleep(IDLE)
        used = (server.cpu() - used) / IDLE
        singles = []
        for number in random.sample(range(clients), min(SINGLES, clients)):
            singles.append(await load.finish(pks[number], [readers[number]]))
            await asyncio.sleep(random.uniform(0.01, 0.1))
        crowds = [
            await load.finish(pk, await load.connect([pk] * CROWD))
            for pk in (await load.in_thread(prepare, CROWDS))[1]
        ]
        load.close()
    percentiles = statistics.quantiles(singles, n=100)
    return [
        wake,
        f"{clients:,}",
        f"{size:.0f}",
        f"{statistics.median(singles):.1f}",
        f"{percentiles[98]:.1f}",
        f"{statistics.median(crowds):.0f}",
        f"{used:.1%}",
        str(threads),
        str(held),
    ]


def connections(url: str) -> int:
    """The database connections of the server: all but that which asks, and the worker's."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        ).fetchone()
    assert row is not None
    return int(row[0]) - 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=4000)
    parser.add_argument("--wake", nargs="*", default=list(WAKES), choices=list(WAKES))
    options = parser.parse_args()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, 65536), files))
    server = os.environ.get("DATABASE_URL", "postgres://postgres@127.0.0.1:5432/postgres")
    url = recreate(server, leave=False)
    os.environ |= {
        "DATABASE_URL": url,
        "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
    }
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    rows = []
    try:
        for wake in options.wake:
            rows.append(asyncio.run(measure(wake, options.clients, url)))
            print(" | ".join(rows[-1]), f"(load {os.getloadavg()[0]:.1f})", flush=True)
    finally:
        from django.db import connections as opened

        opened.close_all()
        recreate(server, leave=True)
    print("\n| " + " | ".join(COLUMNS) + " |")
    for row in rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
