"""Processor time of a poll, a submit and a job: ours beside the naive API and the limit.

    DATABASE_URL=postgres://… CELERY_BROKER_URL=amqp://… python -m benchmarks.rivals [--write]

Rounds are interleaved, so that other load meets all alike, and each figure is the median of its
rounds: milliseconds of processor time (user and system) of the server's or worker's processes for
one request or job, and how many of them one client gets in a second. `--write` puts the table into
docs/performance.rst.
"""

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

from benchmarks.tables import DOCS, Row, circumstances, replace, table

DATABASE = "ar_rivals_bench"
BODY = json.dumps({"number": 7, "text": "seven"})
PUBLIC_BODY = json.dumps({"seconds": 1})
TICKS = os.sysconf("SC_CLK_TCK")

#: Milliseconds of processor time for one request or job, and how many there are in a second.
Figure = tuple[float, float]
Figures = dict[str, list[Figure]]


def recreate(url: str, *, leave: bool) -> str:
    """Drop the benchmark's database and, unless at the end, make it anew; its URL."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        if not leave:
            connection.execute(f"CREATE DATABASE {DATABASE}")
    return urlunsplit(urlsplit(url)._replace(path=f"/{DATABASE}"))


def processes(root: int) -> list[int]:
    """The process and its descendants."""
    found = [root]
    for pid in found:
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found


def processor_seconds(root: int) -> float:
    total = 0
    for pid in processes(root):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


@contextmanager
def running(*command: str, **environment: str) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


class Web:
    """One gunicorn process, and a client that keeps its connection."""

    def __init__(self, pid: int, port: int, token: str) -> None:
        self.pid = pid
        self.client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.fields = {"Authorization": f"Token {token}", "Content-Type": "application/json"}

    def say(self, method: str, url: str, *, public: bool = False, expected: int = 200) -> Any:
        fields = {"Content-Type": "application/json"} if public else self.fields
        sent = PUBLIC_BODY if public else BODY
        self.client.request(method, url, sent if method == "POST" else None, fields)
        answer = self.client.getresponse()
        body = answer.read()
        assert answer.status == expected, (answer.status, body)
        return answer

    def cost(self, number: int, ask: Callable[[], Any]) -> Figure:
        before, started = processor_seconds(self.pid), time.perf_counter()
        for _ in range(number):
            ask()
        seconds = time.perf_counter() - started
        return (processor_seconds(self.pid) - before) / number * 1000, number / seconds


def path_of(url: str) -> str:
    return urlunsplit(urlsplit(url)._replace(scheme="", netloc=""))


def measure_web(rounds: int, number: int, token: str, port: int) -> Figures:
    command = ["gunicorn", "benchmarks.rivals.wsgi", "--bind", f"127.0.0.1:{port}"]
    command += ["--workers", "1", "--threads", "8", "--keep-alive", "75"]
    figures: Figures = defaultdict(list)
    with running(*command) as pid:
        from demo_project.processes import listens

        while not listens(port):
            time.sleep(0.1)
        web = Web(pid, port, token)
        operation = web.say("POST", "/ours/", expected=202)
        status = path_of(operation.headers["Location"])
        monitor = path_of(operation.headers["Operation-Location"])
        pk = operation.headers["Operation-Id"]
        public = web.say("POST", "/public-sleeps/", public=True, expected=202)
        signed = path_of(public.headers["Location"])
        task = path_of(web.say("POST", "/naive/", expected=202).headers["Location"])
        kinds: dict[str, Callable[[], Any]] = {
            "poll, naive": lambda: web.say("GET", task),
            "poll, ours (status)": lambda: web.say("GET", status),
            "poll, ours (monitor)": lambda: web.say("GET", monitor),
            "poll, ours (valet key)": lambda: web.say("GET", signed, public=True),
            "poll, limit": lambda: web.say("GET", f"/limit/{pk}/", public=True),
            "submit, naive": lambda: web.say("POST", "/naive/", expected=202),
            "submit, ours": lambda: web.say("POST", "/ours/", expected=202),
        }
        for ask in kinds.values():
            web.cost(50, ask)
        for _ in range(rounds):
            for kind, ask in kinds.items():
                figures[kind].append(web.cost(number, ask))
    return figures


def worker(queue: str, reuse: str) -> Any:
    command = ["celery", "-A", "benchmarks.rivals.app", "worker", "-c", "1", "-Q", queue]
    command += ["--without-mingle", "--without-gossip", "-n", f"{queue}@rivals"]
    return running(*command, RIVALS_DB_REUSE_MAX=reuse)


def publish(queue: str) -> None:
    from async_reply import services
    from benchmarks.rivals import limit, naive, ours

    order = {"number": 7, "text": "seven"}
    if queue == "rivals-ours":
        services.submit(ours.work, input=order, owner="1")
    else:
        task = limit.work if queue == "rivals-limit" else naive.work
        task.apply_async(kwargs=order, queue=queue)


def run_jobs(pid: int, queue: str, number: int, end: Path) -> Figure:
    from benchmarks.rivals import limit

    before, started = processor_seconds(pid), time.perf_counter()
    for _ in range(number):
        publish(queue)
    limit.end.apply_async(args=(str(end),), queue=queue)
    while not end.exists():
        time.sleep(0.05)
    seconds = time.perf_counter() - started
    time.sleep(0.2)
    return (processor_seconds(pid) - before) / number * 1000, number / seconds


def measure_jobs(rounds: int, number: int) -> Figures:
    """A worker of one process for each API; one more naive worker keeps its connections."""
    from benchmarks.rivals.app import app

    kinds = {
        "job, naive": ("rivals-naive", ""),
        "job, naive, DB_REUSE_MAX": ("rivals-naive-reuse", "1000"),
        "job, limit": ("rivals-limit", "1000"),
        "job, ours": ("rivals-ours", "1000"),
    }
    with app.connection_for_write() as connection:
        for queue, _ in kinds.values():
            channel: Any = connection.default_channel
            channel.queue_delete(queue)
    figures: Figures = defaultdict(list)
    folder = Path(tempfile.mkdtemp())
    with ExitStack() as workers:
        pids = {kind: workers.enter_context(worker(*options)) for kind, options in kinds.items()}
        for round_number in range(rounds + 1):
            for kind, (queue, _) in kinds.items():
                cost = run_jobs(pids[kind], queue, number, folder / f"{queue}{round_number}")
                if round_number:  # the first one warms the process
                    figures[kind].append(cost)
    return figures


def rows(figures: Figures) -> Iterator[Row]:
    """A row for each kind: medians, their spread, and ratios to the rivals by processor time."""
    yield "", "ms", "range", "÷ naive", "÷ limit", "a second"
    medians = {
        kind: statistics.median(cost for cost, _ in values) for kind, values in figures.items()
    }
    for kind, values in figures.items():
        group, name = kind.split(", ", 1)
        costs = [cost for cost, _ in values]
        ratios = [
            f"{medians[kind] / medians[f'{group}, {rival}']:.2f}"
            if f"{group}, {rival}" in medians and name != rival
            else ""
            for rival in ("naive", "limit")
        ]
        rate = statistics.median(rate for _, rate in values)
        spread = f"{min(costs):.2f}-{max(costs):.2f}"
        yield kind, f"{medians[kind]:.2f}", spread, *ratios, f"{rate:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--only", choices=["web", "jobs"])
    parser.add_argument("--write", action="store_true", help="into docs/performance.rst")
    options = parser.parse_args()
    server = os.environ.get("DATABASE_URL", "postgres://postgres@127.0.0.1:5432/postgres")
    os.environ.setdefault("CELERY_BROKER_URL", "amqp://guest:guest@127.0.0.1:5672//")
    os.environ |= {
        "DATABASE_URL": recreate(server, leave=False),
        "DJANGO_SETTINGS_MODULE": "benchmarks.rivals.settings",
    }
    from benchmarks.rivals.app import app

    app.set_default()
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connections

    call_command("migrate", verbosity=0)
    from django.contrib.auth.models import User
    from rest_framework.authtoken.models import Token

    from async_reply.models import Operation

    token = Token.objects.create(user=User.objects.create(username="ada")).key
    from demo_project.processes import free_port

    figures: Figures = {}
    try:
        if options.only != "jobs":
            figures |= measure_web(options.rounds, options.requests, token, free_port())
        if options.only != "web":
            # The worker would run what the submits have left behind.
            Operation.objects.all().delete()
            figures |= measure_jobs(options.rounds, options.jobs)
    finally:
        connections.close_all()
        recreate(server, leave=True)

    lines = list(rows(figures))
    for first, *cells in lines:
        print(first.ljust(28), *(cell.rjust(11) for cell in cells), flush=True)
    if options.write:
        replace(DOCS / "performance.rst", "rivals", f"{circumstances()}\n\n{table(lines)}")


if __name__ == "__main__":
    main()
