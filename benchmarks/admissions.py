"""Measures how many clients a second one uvicorn process lets in to wait.

Beside it, in turns, are the plain polls that one gunicorn process answers. Both have twenty
connections at a time; a client that waits opens one of its own, and pollers keep theirs.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from uuid import UUID

from benchmarks.servers import Server, gunicorn, uvicorn

CONNECTIONS = 20
#: Requests of one round.
REQUESTS = 300
ROUNDS = 7

#: A rate a second, and milliseconds of the server's processor time for each.
Figures = tuple[float, float]


def request(pk: UUID, view: str, token: str) -> bytes:
    lines = [f"GET /api/operations/{pk}/{view}/ HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"Authorization: Token {token}", "Accept: */*", "", ""]
    return "\r\n".join(lines).encode()


async def admit(port: int, pks: list[UUID], token: str) -> list[asyncio.StreamWriter]:
    """Clients that have received the first event of an operation, and stay."""
    left = iter(pks)
    writers: list[asyncio.StreamWriter] = []

    async def enter() -> None:
        for pk in left:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writers.append(writer)
            writer.write(request(pk, "events", token))
            await reader.readuntil(b"\ndata: ")

    await asyncio.gather(*(enter() for _ in range(CONNECTIONS)))
    return writers


async def poll(port: int, pks: list[UUID], token: str) -> list[asyncio.StreamWriter]:
    left = iter(pks)

    async def ask() -> asyncio.StreamWriter:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for pk in left:
            writer.write(request(pk, "monitor", token))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
        return writer

    return await asyncio.gather(*(ask() for _ in range(CONNECTIONS)))


async def round_of(
    server: Server,
    ask: Callable[[int, list[UUID], str], Awaitable[list[asyncio.StreamWriter]]],
    pks: list[UUID],
    token: str,
) -> Figures:
    used, started = server.processor_seconds(), time.perf_counter()
    writers = await ask(server.port, pks, token)
    rate = len(pks) / (time.perf_counter() - started)
    milliseconds = (server.processor_seconds() - used) / len(pks) * 1000
    for writer in writers:
        writer.close()
    await asyncio.sleep(0.3)  # the server ends what it did for them
    return rate, milliseconds


async def measure(pks: list[UUID], token: str) -> tuple[Figures, Figures]:
    """The medians of admissions by uvicorn and of polls by gunicorn."""
    pks = pks[:REQUESTS]
    admissions, polls = [], []
    with uvicorn(notify="") as asgi, gunicorn() as wsgi:
        for number in range(ROUNDS + 1):
            figures = (
                await round_of(asgi, admit, pks, token),
                await round_of(wsgi, poll, pks, token),
            )
            if number:  # the first round warms the processes
                admissions.append(figures[0])
                polls.append(figures[1])
    return medians(admissions), medians(polls)


def medians(rounds: list[Figures]) -> Figures:
    rates, milliseconds = zip(*rounds, strict=True)
    return statistics.median(rates), statistics.median(milliseconds)


def report(admissions: Figures, polls: Figures) -> str:
    return (
        f"admissions of one uvicorn process: {admissions[0]:.0f} a second, "
        f"{admissions[1]:.2f} ms of processor time\n"
        f"polls of one gunicorn process:     {polls[0]:.0f} a second, {polls[1]:.2f} ms\n"
        f"admissions to polls: {admissions[0] / polls[0]:.2f} by rate, "
        f"{admissions[1] / polls[1]:.2f} by processor time"
    )
