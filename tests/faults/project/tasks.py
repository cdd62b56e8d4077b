"""Jobs that write a journal, and jobs that harm their process."""

import os
import re
import resource
import signal
import time
from pathlib import Path
from typing import Any

from celery import shared_task

from async_reply.attempts.jobs import Job
from async_reply.exceptions import JobInterrupted, OperationFailed
from async_reply.tasks import operation_task
from tests.faults import journal
from tests.faults.project.models import Effect, StepEffect, TutorialJob
from tests.faults.steps import ITEMS, KIND, STEPS, is_atomic

MEMORY_BYTES = 200 * 1024 * 1024


def log(operation: Job, event: str, part: object = "") -> None:
    path = os.environ["FAULTS_JOURNAL"]
    journal.write(path, event, id=operation.id, attempt=operation.attempt, part=str(part))


@operation_task(
    name="faults.work",
    max_losses=50,
    max_retries=5,
    autoretry_for=(ConnectionError,),
    retry_backoff=0.2,
    retry_backoff_max=1,
)
def work(operation: Job, *, seconds: float, manner: str, token: str) -> dict[str, Any]:
    """Take `seconds` in the given `manner`, and return `token`."""
    log(operation, "start")
    operation.emit("start", operation.attempt)
    try:
        _spend(operation, seconds, manner)
    except JobInterrupted:
        log(operation, "refused")
        raise
    operation.on_finish(
        lambda: Effect.objects.create(operation=operation.id, attempt=operation.attempt)
    )
    log(operation, "end")
    operation.emit("end", operation.attempt)
    return {"token": token}


def _spend(operation: Job, seconds: float, manner: str) -> None:
    if manner == "silent":
        time.sleep(seconds)
    elif manner == "stubborn":
        # The call holds the interpreter lock, so that no other thread of the process runs.
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            re.match(r"(a+)+$", "a" * 20 + "b")
    else:
        for _ in operation.track(range(10)):
            time.sleep(seconds / 10)
    if manner == "failing":
        raise OperationFailed("The job was asked to fail.")
    if manner == "flaky" and operation.attempt % 2:
        raise ConnectionError("The job was asked to fail.")


@operation_task(name="faults.plain")
def plain(operation: Job, *, token: str) -> dict[str, Any]:
    """Has no effects, so that it finishes in one statement if the database can do so."""
    log(operation, "start")
    log(operation, "end")
    return {"token": token}


@operation_task(name="faults.once", max_losses=0, max_retries=0)
def once(operation: Job, *, seconds: float, token: str) -> dict[str, Any]:
    """A job that must not be repeated."""
    log(operation, "start")
    time.sleep(seconds)
    log(operation, "end")
    return {"token": token}


@operation_task(name=KIND, max_losses=50, max_retries=5)
def steps(operation: Job, *, seconds: float, token: str) -> dict[str, Any]:
    """Take `seconds` for steps, of which every other one is atomic, and for a loop."""
    log(operation, "start")
    pause = seconds / (STEPS + ITEMS)

    def run(number: int) -> int:
        log(operation, "step", number)
        operation.emit("step", number)
        time.sleep(pause)
        if is_atomic(number):
            StepEffect.objects.create(operation=operation.id, step=f"step {number}")
        return number

    for number in range(STEPS):
        operation.step(f"step {number}", run, number, atomic=is_atomic(number))
    for number in operation.track(range(ITEMS), resume="items"):
        time.sleep(pause)
        log(operation, "item", number)
        operation.emit("item", number)
    log(operation, "end")
    return {"token": token}


@operation_task(name="faults.poison", max_losses=1, max_retries=0)
def poison(operation: Job, *, harm: str) -> Any:
    """Harms its process in each attempt."""
    log(operation, "start")
    return HARMS[harm]()


@operation_task(name="faults.hang", max_losses=1, max_retries=0, time_limit=2)
def hang(operation: Job, *, harm: str) -> Any:
    """Harms its process, under a short time limit."""
    return poison.kind.function(operation, harm=harm)


def _crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _eat_memory() -> Any:
    """Allocate memory up to a limit that this process sets for itself."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY_BYTES, hard))
    try:
        return [bytes(1024 * 1024) for _ in range(100_000)]
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _hang() -> None:
    """Block the signals that ask the process to stop."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
    time.sleep(3600)


def _exit() -> None:
    raise SystemExit(3)


def _rubbish() -> Any:
    return {"set": {object()}, "number": float("nan"), "text": "\ud800\0"}


#: The harm that a job does -> its function.
HARMS = {
    "crash": _crash,
    "memory": _eat_memory,
    "hang": _hang,
    "exit": _exit,
    "rubbish": _rubbish,
}


@shared_task(name="faults.tutorial")
def tutorial(pk: int, seconds: float) -> None:
    """The task of tutorials: it reads the row, works, and saves the row."""
    job = TutorialJob.objects.get(pk=pk)
    job.status = "running"
    job.save()
    journal.write(os.environ["FAULTS_JOURNAL"], "start", id=pk, attempt=1)
    time.sleep(seconds)
    job.status = "succeeded"
    job.save()
