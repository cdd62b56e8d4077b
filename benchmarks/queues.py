"""Simulates polls of jobs that wait in a queue, for `python -m benchmarks.polling`.

It compares clients that know the number of jobs ahead with clients that do not.
"""

import heapq
import random
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import mean

from async_reply.estimates import plans

WORKERS = 2
JOBS = 1344
#: The seconds until the next poll. Its arguments: the seconds since the submit, the number of jobs
#: ahead (None: the job runs), the seconds since the start, and past service times.
Strategy = Callable[[float, float | None, float, tuple[float, ...]], float]


@dataclass(frozen=True)
class Case:
    """Jobs that arrive in groups of `burst`; `load` is their share of what the workers can do."""

    name: str
    service: Callable[[random.Random], float]
    load: float
    burst: int = 1


CASES = [
    Case("jobs of 4 s, bursts of 75", lambda chance: chance.lognormvariate(1.3, 0.4), 0.8, 75),
    Case("jobs of 30 s", lambda chance: chance.lognormvariate(3.4, 0.5), 0.9),
    Case("jobs of 0.2 s, all at once", lambda chance: chance.lognormvariate(-1.6, 0.4), 1, JOBS),
]


@dataclass(frozen=True)
class Run:
    """The arrival, the start, the end and the service time of each job, in the order of arrival."""

    arrivals: list[float]
    starts: list[float]
    ends: list[float]
    services: list[float]

    def past(self, index: int) -> tuple[float, ...]:
        """A history of a hundred service times. It is a little old, as a cached one is."""
        start = max(0, index - 110) // 10 * 10
        return tuple(self.services[start : start + 100])


def run(case: Case) -> Run:
    """Two workers serve the jobs in the order of arrival."""
    chance = random.Random(7)
    services = [case.service(chance) for _ in range(JOBS)]
    rate = case.load * WORKERS / mean(services)
    arrivals: list[float] = []
    moment = 0.0
    for index in range(JOBS):
        if index % case.burst == 0 and index:
            moment += chance.expovariate(rate) if case.burst == 1 else case.burst / rate
        arrivals.append(moment)
    free = [0.0] * WORKERS
    starts, ends = [], []
    for arrival, service in zip(arrivals, services, strict=True):
        start = max(arrival, heapq.heappop(free))
        heapq.heappush(free, start + service)
        starts.append(start)
        ends.append(start + service)
    return Run(arrivals, starts, ends, services)


def simulate(jobs: Run, strategy: Strategy, *, error: float = 0.0) -> tuple[float, float]:
    """The polls for one job, and the seconds from its end to the poll that sees the end.

    The 202 does not count as a poll. `error`: each number of jobs ahead is too high or too low by
    up to this share.
    """
    chance = random.Random(3)
    polls, late = 0, 0.0
    for index, (arrival, start, end) in enumerate(
        zip(jobs.arrivals, jobs.starts, jobs.ends, strict=True)
    ):
        now = arrival
        past = jobs.past(index)
        while now < end:
            ahead = None
            if now < start:
                exact = index - bisect_right(jobs.starts, now, 0, index)
                ahead = exact * (1 + chance.uniform(-error, error))
            now += strategy(now - arrival, ahead, now - start, past)
            polls += 1
        late += now - end
    return polls / len(jobs.ends), late / len(jobs.ends)


def whole_seconds(
    elapsed: float, ahead: float | None, running: float, past: tuple[float, ...]
) -> float:
    """A client that obeys Retry-After."""
    if ahead is None:
        return plans.retry_after(past, running)
    queued = plans.in_queue(ahead, mean=plans.plan(past).law.mean, workers=WORKERS)
    return plans.retry_after_in_queue(past, queued)


def fractions(
    elapsed: float, ahead: float | None, running: float, past: tuple[float, ...]
) -> float:
    """A client that polls again after three quarters of eta_seconds."""
    remaining = plans.eta(past, running if ahead is None else 0) or 0.0
    if ahead is not None:
        law = plans.plan(past).law
        remaining += plans.in_queue(ahead, mean=law.mean, workers=WORKERS)
    return max(0.2, 0.75 * remaining)


def doubling(elapsed: float, ahead: float | None, running: float, past: tuple[float, ...]) -> float:
    return max(1.0, elapsed + 1)


STRATEGIES: dict[str, Strategy] = {
    "Retry-After": whole_seconds,
    "0.75 of eta_seconds": fractions,
    "1 s": lambda *_: 1.0,
    "5 s": lambda *_: 5.0,
    "doubling": doubling,
}


def compare(case: Case) -> Iterator[tuple[str, tuple[float, float, float, float]]]:
    """For each strategy its polls and its lateness: exact, and with jobs ahead known to ± 30 %."""
    jobs = run(case)
    for name, strategy in STRATEGIES.items():
        yield name, (*simulate(jobs, strategy), *simulate(jobs, strategy, error=0.3))
