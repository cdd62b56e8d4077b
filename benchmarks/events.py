"""Measures a job that emits 100,000 events: `python -m benchmarks.events`, on PostgreSQL.

It prints the seconds of the attempt, the processor time of its process, and the rows: the median of
several runs, and the same for a job that calls `progress` as often. The heartbeat's thread writes
while the job runs, as in a worker.
"""

import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from benchmarks.sizes import set_up

if TYPE_CHECKING:
    from async_reply.attempts.jobs import Job

EVENTS = 100_000
RUNS = 5
#: An operation of the benchmark's database. The number is no matter.
OTHERS = 1_000


def main() -> None:
    sizes = set_up("async_reply_events")
    sizes.create(OTHERS)
    try:
        measure()
    finally:
        sizes.drop(OTHERS)


def measure() -> None:
    from django.conf import settings

    from async_reply.models import OperationEvents

    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "MAX_EVENTS": 100 * 1024 * 1024}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in JOBS}
    for _ in range(RUNS):
        for name, function in JOBS.items():
            seconds[name].append(attempt(function))
    for name, runs in seconds.items():
        wall, processor = (statistics.median(times) for times in zip(*runs, strict=True))
        print(f"{name:10} {wall:6.2f} s, {processor:6.2f} s of processor time")
    print(f"{EVENTS:,} events in {OperationEvents.objects.count() / RUNS:.0f} rows")


def attempt(function: "Callable[[Job], None]") -> tuple[float, float]:
    """Run a job as a worker does; seconds, and seconds of processor time."""
    from async_reply import services
    from async_reply.attempts import runner
    from async_reply.attempts.kinds import Kind
    from async_reply.testing import isolated
    from demo_project.tasks import export

    with isolated():
        operation = services.submit(export, input={"rows": 1})
    kind = Kind(name=operation.kind, function=lambda operation, **_input: function(operation))
    started = time.monotonic(), time.process_time()
    runner.run(operation.pk, kind, worker="benchmark")
    return time.monotonic() - started[0], time.process_time() - started[1]


def emit(job: "Job") -> None:
    for number in range(EVENTS):
        job.emit("row", {"number": number})


def progress(job: "Job") -> None:
    for number in range(EVENTS):
        job.progress(number, EVENTS)


JOBS: "dict[str, Callable[[Job], None]]" = {"emit": emit, "progress": progress}

if __name__ == "__main__":
    main()
