"""Measures many readers of one log on one server: `python -m benchmarks.log_readers`.

    DATABASE_URL=postgres://… python -m benchmarks.log_readers [--write]

It prints the delay from the commit of a flush until each reader has its event: while a job flushes
every 250 ms, and for the first event after a quiet time. It also prints what a flush costs.

The benchmark creates a database of its own and drops it at the end. Readers speak HTTP/1.1 over
loopback. This process commits the flush and receives the events.
"""

import argparse
import asyncio
import gc
import itertools
import json
import os
import resource
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

from benchmarks.servers import Server, uvicorn
from benchmarks.tables import DOCS, circumstances, replace, table
from benchmarks.waiting import create_database, drop_database, prepare

#: Flushes while the job is busy, and the seconds between two of them.
FLUSHES, FLUSH_SECONDS = 60, 0.25
#: Events after a quiet time, and its seconds.
QUIET_EVENTS, QUIET_SECONDS = 12, 2.0
DATABASE = "ar_log_bench"
COLUMNS = (
    "events",
    "readers",
    "web processes",
    "p50 ms",
    "p99 ms",
    "last reader, median ms",
    "processor ms",
)


class Reader(asyncio.Protocol):
    """A connection that reads a log, and notes when each event arrives."""

    def __init__(self, request: bytes, arrivals: dict[bytes, list[float]]) -> None:
        self.request = request
        self.arrivals = arrivals
        self.has_begun = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if not self.has_begun.done():
            if b"data: " in data:
                self.has_begun.set_result(None)
            return
        for line in data.split(b"\n"):
            if line.startswith(b"id: "):
                self.arrivals.setdefault(line, []).append(now)


class Job:
    """Flushes one event at a time, as the worker does."""

    def __init__(self, pk: UUID) -> None:
        self.pk = pk
        self.events = 0

    def flush(self) -> tuple[bytes, float]:
        """The line of the event's id in a stream, and the time at which the commit had returned."""
        from django.db import transaction

        from async_reply.models import Operation, OperationEvents
        from async_reply.notifications import announcements

        self.events += 1
        number = self.events
        at = "2026-01-02T03:04:05.678901Z"
        event = {"id": number, "event": "token", "at": at, "data": {"text": "x" * 40}}
        text = json.dumps([event])
        with transaction.atomic():
            Operation.objects.filter(pk=self.pk, events=number - 1).update(events=number)
            OperationEvents.objects.create(
                operation_id=self.pk,
                first=number,
                last=number,
                attempt=1,
                events=text,
                size=len(text),
            )
            announcements.announce_events(self.pk)
        return b"id: %d" % number, time.perf_counter()


class Load:
    """The readers of one log, and a thread that flushes."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.pool = ThreadPoolExecutor(1)
        self.arrivals: dict[bytes, list[float]] = {}
        self.readers: list[Reader] = []

    async def in_thread(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self.pool, function, *arguments)

    async def connect(self, number: int, pk: UUID, token: str) -> None:
        lines = [
            f"GET /api/operations/{pk}/log/ HTTP/1.1",
            "Host: 127.0.0.1",
            f"Authorization: Token {token}",
            "Accept: text/event-stream",
        ]
        request = "\r\n".join([*lines, "", ""]).encode()
        gate = asyncio.Semaphore(20)

        async def connect() -> Reader:
            async with gate:
                loop = asyncio.get_running_loop()
                _, reader = await loop.create_connection(
                    lambda: Reader(request, self.arrivals), "127.0.0.1", self.server.port
                )
                await reader.has_begun
            return reader

        self.readers = await asyncio.gather(*(connect() for _ in range(number)))

    async def flush(self, job: Job) -> list[float]:
        """The milliseconds from the commit until each reader has the event."""
        line, committed_at = await self.in_thread(job.flush)
        deadline = time.perf_counter() + 20
        while len(self.arrivals.get(line, ())) < len(self.readers):
            if time.perf_counter() > deadline:
                raise TimeoutError(f"{line!r} came to {len(self.arrivals.get(line, ()))} readers")
            await asyncio.sleep(0.005)
        return [(arrival - committed_at) * 1000 for arrival in self.arrivals[line]]


async def measure(number: int, processes: int) -> list[list[str]]:
    """The rows of the table for a number of readers and of uvicorn's processes."""
    from django.conf import settings

    settings.ASYNC_REPLY["NOTIFY"] = "postgresql"
    # A collection here would be measured as a delay of the server.
    gc.collect()
    gc.disable()
    with uvicorn(notify="postgresql", processes=processes) as server:
        load = Load(server)
        token, (pk,) = await load.in_thread(prepare, 1)
        job = Job(pk)
        await load.in_thread(job.flush)  # readers get it when they connect
        await load.connect(number, pk, token)
        await load.flush(job)  # warm
        rows = []
        for name, flushes, seconds in (
            (f"every {FLUSH_SECONDS * 1000:.0f} ms", FLUSHES, FLUSH_SECONDS),
            (f"after {QUIET_SECONDS:.0f} s of quiet", QUIET_EVENTS, QUIET_SECONDS),
        ):
            used = server.processor_seconds()
            delays = []
            for _ in range(flushes):
                started = time.perf_counter()
                delays.append(await load.flush(job))
                await asyncio.sleep(max(0.0, seconds - (time.perf_counter() - started)))
            used = (server.processor_seconds() - used) / flushes * 1000
            flat = [delay for each in delays for delay in each]
            last = statistics.median(max(each) for each in delays)
            percentiles = statistics.quantiles(flat, n=100)
            figures = [statistics.median(flat), percentiles[98], last, used]
            sizes = [f"{number:,}", str(processes)]
            rows.append([name, *sizes, *(f"{figure:.1f}" for figure in figures)])
        for reader in load.readers:
            reader.transport.close()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", type=int, nargs="*", default=[100, 1000])
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2], help="of uvicorn")
    parser.add_argument("--write", action="store_true", help="into docs/performance.rst")
    options = parser.parse_args()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, 65536), files))
    server = os.environ.get("DATABASE_URL", "postgres://postgres@127.0.0.1:5432/postgres")
    url = create_database(server, DATABASE)
    os.environ |= {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "benchmarks.settings"}
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    rows = []
    try:
        for number, processes in itertools.product(options.readers, options.processes):
            for row in asyncio.run(measure(number, processes)):
                rows.append(row)
                print(" | ".join(row), f"(load {os.getloadavg()[0]:.1f})", flush=True)
    finally:
        from django.db import connections as open_connections

        open_connections.close_all()
        drop_database(server, DATABASE)
    if options.write:
        content = f"{circumstances()}\n\n{table([COLUMNS, *rows])}"
        replace(DOCS / "performance.rst", "log-readers", content)


if __name__ == "__main__":
    main()
