"""Measures thousands of clients that wait on one server: `python -m benchmarks.waiting`.

    DATABASE_URL=postgres://… python -m benchmarks.waiting [--clients 4000] [--wake NAME …]

It prints the cost of the clients, the delay until a client learns of an end, and the rate at which
clients are let in to wait, beside the rate of plain polls. `--wake` alone prints only the rates.

The benchmark creates a database of its own and drops it at the end. Clients speak HTTP/1.1 over
loopback. This process commits the end and receives the event: the delay is the time between the
two.
"""

import argparse
import asyncio
import os
import random
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import psycopg

from benchmarks import admissions
from benchmarks.servers import Server, uvicorn
from benchmarks.tables import DOCS, circumstances, replace, table

T = TypeVar("T")

WAKES = {"LISTEN/NOTIFY": "postgresql", "Redis": "redis://127.0.0.1:6379/7", "none": ""}
DATABASE = "ar_waiting_bench"
#: The number of operations that end for one client each.
SINGLES = 200
#: The number of clients that read the events of one operation.
CROWD = 100
#: The number of operations that end for a crowd.
CROWDS = 5
IDLE_SECONDS = 62.0
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
    """A connection that sends one request and notes the arrival of the word `succeeded`."""

    def __init__(self, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.request = request
        self.first_event = loop.create_future()
        self.succeeded_at: asyncio.Future[float] = loop.create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        if b"succeeded" in data and not self.succeeded_at.done():
            self.succeeded_at.set_result(time.perf_counter())
        elif b"data: " in data and not self.first_event.done():
            self.first_event.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        for future in (self.first_event, self.succeeded_at):
            if not future.done():
                future.set_exception(ConnectionError("the server hung up"))
                future.exception()


def create_database(url: str, name: str = DATABASE) -> str:
    """Create the benchmark's database, empty, on the server of `url`; return its URL."""
    drop_database(url, name)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def drop_database(url: str, name: str = DATABASE) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def prepare(number: int) -> tuple[str, list[UUID]]:
    """A user's token, and the ids of `number` running operations of this user."""
    from django.contrib.auth.models import User
    from rest_framework.authtoken.models import Token

    from async_reply.models import Operation
    from async_reply.status import Status

    user, _ = User.objects.get_or_create(username="ada")
    token, _ = Token.objects.get_or_create(user=user)
    fields = {"kind": "benchmark", "owner": str(user.pk), "status": Status.RUNNING, "attempt": 1}
    operations = Operation.objects.bulk_create([Operation(**fields) for _ in range(number)])
    return token.key, [operation.pk for operation in operations]


def succeed(pk: UUID) -> float:
    """Finish an operation; return the time at which the commit had returned."""
    from django.db import transaction

    from async_reply import lifecycle
    from async_reply.models import Operation

    operation = Operation.objects.get(pk=pk)
    with transaction.atomic():
        assert lifecycle.succeed(operation)
    return time.perf_counter()


class Load:
    """The clients, and a thread that finishes operations as a worker does."""

    def __init__(self, server: Server, token: str) -> None:
        self.server = server
        self.token = token
        self.pool = ThreadPoolExecutor(1)
        self.clients: list[Client] = []

    async def in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.pool, function, *arguments)

    async def connect(self, pks: list[UUID]) -> list[Client]:
        """Clients that read the events of each operation. Twenty connect at the same time."""
        gate = asyncio.Semaphore(20)
        readers = await asyncio.gather(*(self._connect(pk, gate) for pk in pks))
        self.clients += readers
        return readers

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
            await client.first_event
        return client

    async def finish(self, pk: UUID, clients: list[Client]) -> float:
        """The milliseconds from the end of an operation until the last of `clients` knows it."""
        finished_at = await self.in_thread(succeed, pk)
        arrivals = await asyncio.gather(*(client.succeeded_at for client in clients))
        return (max(arrivals) - finished_at) * 1000

    def close(self) -> None:
        for client in self.clients:
            client.transport.close()


async def measure(wake: str, clients: int, url: str) -> list[str]:
    """A row of the table: the figures for one way of notifying."""
    from django.conf import settings

    settings.ASYNC_REPLY["NOTIFY"] = WAKES[wake] or None
    with uvicorn(notify=WAKES[wake]) as server:
        load = Load(server, "")
        load.token, pks = await load.in_thread(prepare, clients + 1)
        await load.finish(pks[-1], await load.connect([pks.pop()]))  # warm
        before = server.status("VmRSS")
        readers = await load.connect(pks)
        await asyncio.sleep(2)
        size = (server.status("VmRSS") - before) / clients
        threads, open_connections = server.status("Threads"), await load.in_thread(connections, url)
        used = server.processor_seconds()
        await asyncio.sleep(IDLE_SECONDS)
        used = (server.processor_seconds() - used) / IDLE_SECONDS
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
        str(open_connections),
    ]


async def measure_admissions() -> str:
    token, pks = await asyncio.to_thread(prepare, admissions.REQUESTS)
    return admissions.report(*await admissions.measure(pks, token))


def connections(url: str) -> int:
    """The server's connections to the database, without the two of this process."""
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
    parser.add_argument("--write", action="store_true", help="into docs/performance.rst")
    options = parser.parse_args()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, 65536), files))
    server = os.environ.get("DATABASE_URL", "postgres://postgres@127.0.0.1:5432/postgres")
    url = create_database(server)
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
        rates = asyncio.run(measure_admissions())
        print(rates, flush=True)
        for wake in options.wake:
            rows.append(asyncio.run(measure(wake, options.clients, url)))
            print(" | ".join(rows[-1]), f"(load {os.getloadavg()[0]:.1f})", flush=True)
    finally:
        from django.db import connections as open_connections

        open_connections.close_all()
        drop_database(server)
    print("\n| " + " | ".join(COLUMNS) + " |")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(f"\n{rates}")
    if options.write:
        lines = "\n".join(f"| {line}" for line in rates.splitlines())
        content = f"{circumstances()}\n\n{lines}\n\n{table([COLUMNS, *rows])}"
        replace(DOCS / "performance.rst", "waiting", content)


if __name__ == "__main__":
    main()
