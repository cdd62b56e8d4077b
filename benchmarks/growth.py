"""Measures how much slower each read and each duty becomes as the table grows, on PostgreSQL.

    DATABASE_URL=postgres://… python -m benchmarks.growth [--rows 10000 1000000] [--rounds 15]

Each size has a database of its own, which is dropped at the end. Rounds are interleaved: each round
times every call on each size, so that other load meets all sizes alike. A figure is the median in
milliseconds, and its ratio to the smallest size. Calls that change rows are rolled back. No message
is sent: a broker does not notice how many rows the table has. As many operations wait, run and have
failed in each size: a longer queue is more work in a small table, too.
"""

import argparse
import logging
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.sizes import Sizes, set_up

DATABASE = "ar_growth_bench"
#: The most that a call may slow down from the first size to another.
GOAL = 1.5
#: How many polls are timed for a p99.
POLLS = 3000

#: Milliseconds by the name of a call and the number of rows.
Figures = dict[str, dict[int, list[float]]]


def rolled_back(function: Callable[[], Any]) -> Callable[[], Any]:
    from django.db import transaction

    def call() -> None:
        with transaction.atomic():
            function()
            transaction.set_rollback(True)

    return call


class Calls:
    """The calls that are timed, by name, for the database that is in use."""

    def __init__(self) -> None:
        from django.contrib.auth.models import User
        from django.test import Client
        from rest_framework.test import APIClient

        from async_reply.models import Operation

        user = User.objects.get()
        self.api = APIClient()
        self.api.force_authenticate(user)
        self.admin = Client()
        self.admin.force_login(user)
        own = Operation.objects.filter(owner="1", deleted_at=None)
        self.finished = own.filter(status="succeeded").order_by("-pk")[0].pk
        self.pending = own.filter(status="pending").order_by("-pk")[0].pk
        self.next_page = self.get(self.api, "/api/operations/").json()["next"]

    def get(self, client: Any, url: str) -> Any:
        answer = client.get(url)
        assert answer.status_code == 200, (url, answer.status_code)
        return answer

    def by_name(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        from async_reply import lifecycle, services
        from async_reply.attempts import rescue
        from async_reply.estimates import backlogs
        from async_reply.models import Operation
        from async_reply.publishing import queues, relay
        from async_reply.services import retention
        from demo_project.tasks import export

        def position() -> None:
            backlogs.forget()
            backlogs.position(Operation(kind="demo.export"))

        yield "poll", lambda: self.get(self.api, f"/api/operations/{self.finished}/monitor/")
        yield "poll, pending", lambda: self.get(self.api, f"/api/operations/{self.pending}/")
        yield "submit", rolled_back(lambda: services.submit(export, input={"rows": 1}, owner="1"))
        yield "list", lambda: self.get(self.api, "/api/operations/")
        yield "list, next page", lambda: self.get(self.api, self.next_page)
        yield "list of a kind", lambda: self.get(self.api, "/api/operations/?kind=demo.export")
        yield "claim", rolled_back(lambda: lifecycle.claim_unread(self.pending, worker="w@h/1"))
        yield "relay", rolled_back(relay.publish_due)
        yield "republish", relay.republish_lost
        yield "rescue", rolled_back(rescue.rescue)
        yield "unserved", queues.unserved
        yield "purge, a batch", rolled_back(retention.purge)
        yield "queue position", position
        url = "/admin/async_reply/operation/"
        yield "admin, list", lambda: self.get(self.admin, url)
        yield "admin, failed", lambda: self.get(self.admin, f"{url}?status=failed")
        yield "admin, dashboard", lambda: self.get(self.admin, f"{url}dashboard/")
        yield "admin, an operation", lambda: self.get(self.admin, f"{url}{self.finished}/change/")


def milliseconds(function: Callable[[], Any]) -> float:
    started = time.perf_counter()
    function()
    return (time.perf_counter() - started) * 1000


@contextmanager
def without_broker() -> Iterator[None]:
    """Sends nothing, and counts more messages than operations wait: none counts as lost."""
    from async_reply.publishing import broker

    send, count = broker.send, broker.count
    broker.send = lambda operation: None
    broker.count = lambda queue: 10**9
    try:
        yield
    finally:
        broker.send, broker.count = send, count


def measure(sizes: Sizes, all_rows: list[int], rounds: int) -> Figures:
    from async_reply.services import retention

    # One batch, since a turn takes as many as fit into half a second.
    retention.SECONDS_PER_TURN = 0.0
    figures: Figures = defaultdict(lambda: defaultdict(list))
    for round_number in range(rounds + 1):
        for rows in all_rows:
            sizes.use(rows)
            for name, call in Calls().by_name():
                call()  # the connection is new, and its caches are cold
                taken = milliseconds(call)
                if round_number:
                    figures[name][rows].append(taken)
    return figures


def report(figures: Figures) -> None:
    for name, by_size in figures.items():
        medians = {rows: statistics.median(times) for rows, times in by_size.items()}
        first, *_ = medians.values()
        columns = [f"{rows:>9,}: {ms:8.2f} ms  x {ms / first:4.2f}" for rows, ms in medians.items()]
        verdict = "" if max(medians.values()) <= GOAL * first else f"over {GOAL}"
        print(f"{name:22}", *columns, verdict, flush=True)


def p99_of_polls(is_over: Callable[[int], bool]) -> float:
    """The p99 in milliseconds of polls, which go on until `is_over` (of their number)."""
    calls = Calls()
    url = f"/api/operations/{calls.pending}/"
    times: list[float] = []
    while not is_over(len(times)):
        times.append(milliseconds(lambda: calls.get(calls.api, url)))
    return statistics.quantiles(times, n=100)[98]


def measure_purge(sizes: Sizes, rows: int) -> None:
    """Purge in a process of its own, and poll meanwhile."""
    sizes.use(rows)
    calm = p99_of_polls(lambda polls: polls >= POLLS)
    command = [sys.executable, "-m", "benchmarks.growth", "--purge", str(rows)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    busy = p99_of_polls(lambda polls: process.poll() is not None and polls >= 100)
    output, _ = process.communicate()
    print(f"{output.strip()}; p99 of polls {calm:.1f} -> {busy:.1f} ms, x {busy / calm:.2f}")


def purge(sizes: Sizes, rows: int) -> None:
    """Purge all that has expired, and print rows a second."""
    from async_reply.models import Operation
    from async_reply.services import retention

    sizes.use(rows)
    rates = []
    for kind in ("tombstones deleted", "contents purged"):
        expired = Operation.objects.expired().filter(deleted_at__isnull=kind[0] == "c")
        total, started = expired.count(), time.perf_counter()
        while expired.exists():
            retention.purge()
        rates.append(f"{kind}: {total / (time.perf_counter() - started):,.0f} rows/s of {total:,}")
    print(f"purge at {rows:,}: {', '.join(rates)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", choices=["calls", "purge"])
    parser.add_argument("--purge", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sizes = set_up(DATABASE)
    logging.disable(logging.WARNING)
    from django.db import connections

    if options.purge:
        purge(sizes, options.purge)
        return
    try:
        for rows in options.rows:
            sizes.create(rows, varied=min(options.rows))
            print(f"{rows:,} rows filled", flush=True)
        with without_broker():
            if options.only != "purge":
                report(measure(sizes, options.rows, options.rounds))
            if options.only != "calls":
                measure_purge(sizes, options.rows[-1])
    finally:
        connections.close_all()
        for rows in options.rows:
            sizes.drop(rows)


if __name__ == "__main__":
    main()
