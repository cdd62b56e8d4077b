"""Measures workers: statements while they are idle, and jobs a second of one, two and four workers.

    DATABASE_URL=postgres://… CELERY_BROKER_URL=amqp://… python -m benchmarks.workers [--idle 20]

Statements are counted by PostgreSQL, as transactions of the benchmark's database: an idle worker
has one statement in each transaction. Jobs do nothing. They are submitted before the workers start.
"""

import argparse
import os
import time
from contextlib import ExitStack
from typing import Any

from benchmarks.rivals.__main__ import processor_seconds, recreate, running

QUEUE = "rivals-ours"


def start(stack: ExitStack, number: int) -> list[int]:
    """Start workers of one process each. Returns their process ids."""
    command = ["celery", "-A", "benchmarks.rivals.app", "worker", "-c", "1", "-Q", QUEUE]
    command += ["--without-mingle", "--without-gossip"]
    return [
        stack.enter_context(running(*command, "-n", f"w{index}@scale", RIVALS_DB_REUSE_MAX="1000"))
        for index in range(number)
    ]


def transactions() -> int:
    """The transactions of the database so far. Other sessions tell theirs when they are idle."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database "
            "WHERE datname = current_database()"
        )
        (count,) = cursor.fetchone()
    return int(count)


def until_living(number: int) -> None:
    from async_reply.publishing import queues

    while queues.living().count() < number:
        time.sleep(0.5)


def measure_idle(number: int, seconds: float) -> None:
    with ExitStack() as workers:
        pids = start(workers, number)
        until_living(number)
        time.sleep(15)  # a duty that finds no work waits longer each time
        before, used = transactions(), sum(map(processor_seconds, pids))
        time.sleep(seconds)
        # The two reads of the counter are transactions, too.
        count = transactions() - before - 1
        used = sum(map(processor_seconds, pids)) - used
    each = seconds * number
    print(f"{number} idle workers: {count / each:.2f} statements a second each, ", end="")
    print(f"{1000 * used / each:.1f} ms of processor time a second each", flush=True)


def measure_jobs(number: int, jobs: int) -> float:
    """Jobs a second of so many workers."""
    from async_reply import services
    from async_reply.models import Operation
    from benchmarks.rivals import ours

    finished: Any = Operation.objects.filter(finished_at__isnull=False)
    before = finished.count()
    for _ in range(jobs):
        services.submit(ours.work, input={"number": 7, "text": "seven"}, owner="1")
    with ExitStack() as workers:
        start(workers, number)
        while finished.count() < before + jobs:
            time.sleep(0.2)
    dates = finished.order_by("-finished_at").values_list("finished_at", flat=True)[:jobs]
    ends = sorted(dates)
    # Workers start and end at different times: a third of the jobs and a tenth are left out.
    first, last = jobs // 3, jobs - jobs // 10
    seconds: float = (ends[last] - ends[first]).total_seconds()
    rate = (last - first) / seconds
    print(f"{number} workers: {rate:.0f} jobs/s", flush=True)
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--idle", type=int, default=20, help="how many workers are idle")
    parser.add_argument("--seconds", type=float, default=60, help="how long they are counted")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--only", choices=["idle", "jobs"])
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
    try:
        if options.only != "jobs":
            measure_idle(options.idle, options.seconds)
        if options.only != "idle":
            one, *others = [measure_jobs(number, options.jobs) for number in (1, 2, 4)]
            print("x", *(f"{rate / one:.2f}" for rate in others))
    finally:
        connections.close_all()
        recreate(server, leave=True)


if __name__ == "__main__":
    main()
