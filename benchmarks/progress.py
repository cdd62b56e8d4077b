"""Measures the cost of `progress()` and `track()` in a loop: `python -m benchmarks.progress`.

It prints seconds of processor time, and ratios to a loop without them: the median of interleaved
runs. It needs no database, because a job leaves its progress in memory. The heartbeat of the job's
process writes the progress once a second.
"""

import os
import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import django

if TYPE_CHECKING:
    from async_reply.attempts.jobs import Job

TURNS = 1_000_000
RUNS = 5


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_project.settings")
    django.setup()
    from async_reply.attempts.claims import Claim
    from async_reply.attempts.jobs import Job
    from async_reply.models import Operation

    operation = Operation(time_limit=3600)
    job = Job(operation, Claim(operation, inline=False))
    seconds: dict[str, list[float]] = {name: [] for name in LOOPS}
    for _ in range(RUNS):
        for name, loop in LOOPS.items():
            started = time.process_time()
            loop(job)
            seconds[name].append(time.process_time() - started)
    bare = statistics.median(seconds["bare"])
    print(f"{TURNS:,} turns, median of {RUNS} runs")
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"{name:10} {median:6.3f} s   {median / bare:5.1f} x the bare loop")


def bare(_job: "Job") -> None:
    for _ in range(TURNS):
        pass


def progress(job: "Job") -> None:
    for turn in range(TURNS):
        job.progress(turn, TURNS, "Working")


def track(job: "Job") -> None:
    for _ in job.track(range(TURNS), description="Row"):
        pass


LOOPS: "dict[str, Callable[[Job], None]]" = {"bare": bare, "progress": progress, "track": track}

if __name__ == "__main__":
    main()
