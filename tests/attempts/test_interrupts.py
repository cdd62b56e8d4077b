"""A job that is interrupted between its calls, and the flag of a worker that stops."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from async_reply import lifecycle, services
from async_reply.attempts import heartbeats, interrupts, runner
from async_reply.attempts.claims import Claim
from async_reply.attempts.interrupts import InterruptibleJob
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.attempts.reports import Ending, Report
from async_reply.exceptions import ClaimLost, JobInterrupted, OperationCanceled
from async_reply.models import Operation
from async_reply.status import Status
from tests.project.tasks import echo


class FakeClaim:
    """Stands for a claim with an interruption for its job."""

    def __init__(self, interruption: type[JobInterrupted] | None = None) -> None:
        self.interruption = interruption


@pytest.fixture(autouse=True)
def _handler() -> Iterator[None]:
    before = signal.getsignal(interrupts.SIGNAL)
    yield
    signal.signal(interrupts.SIGNAL, before)


def test_interruptible_job__is_interrupted_inside_the_block_only() -> None:
    job = InterruptibleJob(FakeClaim(OperationCanceled))
    job.interrupt()
    with pytest.raises(OperationCanceled), job.interrupts_allowed():
        job.interrupt()
    os.kill(os.getpid(), interrupts.SIGNAL)
    assert job._was_interrupted


def test_interruptible_job__is_interrupted_once() -> None:
    job = InterruptibleJob(FakeClaim(OperationCanceled))
    with job.interrupts_allowed():
        with pytest.raises(OperationCanceled):
            job.interrupt()
        job.interrupt()
        os.kill(os.getpid(), interrupts.SIGNAL)


def test_interruptible_job__late_signal_does_not_interrupt_the_next_job() -> None:
    first = InterruptibleJob(FakeClaim(OperationCanceled))
    second = InterruptibleJob(FakeClaim())
    with pytest.raises(OperationCanceled), first.interrupts_allowed():
        first.interrupt()
    with second.interrupts_allowed():
        os.kill(os.getpid(), interrupts.SIGNAL)
        first.interrupt()


def test_interruptible_job__outside_the_main_thread_is_never_interrupted() -> None:
    was_allowed: list[bool] = []

    def run() -> None:
        job = InterruptibleJob(FakeClaim(ClaimLost))
        with job.interrupts_allowed():
            job.interrupt()
            was_allowed.append(job._is_allowed)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert was_allowed == [False]


def spin(operation: Job) -> None:
    """Cancels itself, then computes without a call to its handle."""
    services.cancel(Operation.objects.get(pk=operation.id))
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up:
        pass


def sleep(operation: Job) -> None:
    """Cancels itself, then stays inside one system call."""
    services.cancel(Operation.objects.get(pk=operation.id))
    time.sleep(20)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("job", [spin, sleep])
def test_run__job_without_calls_is_interrupted(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "BEAT_SECONDS", 0.05)
    operation = services.submit(echo)
    kind = Kind(name=echo.name, function=job, cancel="interrupt")
    started = time.monotonic()
    assert runner.run(operation.pk, kind, worker="w1") == Report(Ending.CANCELED)
    assert time.monotonic() - started < 15
    operation.refresh_from_db()
    assert operation.status == Status.CANCELED


@pytest.mark.django_db(transaction=True)
def test_run__interrupted_job_may_clean_up(monkeypatch: pytest.MonkeyPatch) -> None:
    cleanups: list[bool] = []

    def job(operation: Job) -> None:
        try:
            sleep(operation)
        finally:
            give_up = time.monotonic() + 0.5
            while time.monotonic() < give_up:
                time.sleep(0.01)
            cleanups.append(True)

    monkeypatch.setattr(heartbeats, "BEAT_SECONDS", 0.05)
    operation = services.submit(echo)
    kind = Kind(name=echo.name, function=job, cancel="interrupt")
    assert runner.run(operation.pk, kind, worker="w1").ending is Ending.CANCELED
    assert cleanups == [True]


@pytest.mark.django_db(transaction=True)
def test_run__interruption_after_the_return_comes_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operation is canceled after the job has returned, before its result is stored."""
    succeed = lifecycle.succeed
    claims: list[Claim] = []

    def job(operation: Job) -> int:
        claims.append(operation._claim)
        return 7

    def interrupt_and_succeed(operation: Operation, **options: Any) -> bool:
        [claim] = claims
        assert claim.interruptible is not None
        claim.interruption = OperationCanceled
        claim.interruptible.interrupt()
        return succeed(operation, **options)

    monkeypatch.setattr(lifecycle, "succeed", interrupt_and_succeed)
    operation = services.submit(echo)
    kind = Kind(name=echo.name, function=job, cancel="interrupt")
    assert runner.run(operation.pk, kind, worker="w1").ending is Ending.SUCCEEDED


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_shared_flag__is_seen_by_children() -> None:
    flag = interrupts.SharedFlag()
    child = os.fork()
    if not child:
        while not flag.is_set():
            time.sleep(0.01)
        os._exit(0)
    assert os.waitpid(child, os.WNOHANG) == (0, 0)
    flag.set()
    assert os.waitpid(child, 0)[1] == 0
    flag.clear()
    assert not flag.is_set()


def interrupt_now(job: InterruptibleJob) -> None:
    """The signal arrives here: in this frame, or in one that it calls."""
    job.interrupt()


@interrupts.uninterrupted
def store(job: InterruptibleJob, function: Callable[..., Any]) -> Any:
    interrupt_now(job)
    result = interrupts.call_interruptibly(function, [job], {})
    interrupt_now(job)
    return result


def test_uninterrupted__code_is_not_interrupted_and_what_it_calls_neither() -> None:
    job = InterruptibleJob(FakeClaim(OperationCanceled))
    with job.interrupts_allowed():
        assert store(job, lambda job: 7) == 7
        assert not job._was_interrupted
        with pytest.raises(OperationCanceled):
            store(job, interrupt_now)


def test_uninterrupted__function_of_the_job_that_has_returned_is_not_interrupted() -> None:
    """The frame of `call_interruptibly` itself holds what the function returned."""
    frames: list[Any] = []
    interrupts.call_interruptibly(lambda: frames.append(sys._getframe()), [], {})
    assert interrupts._may_interrupt(frames[0])
    assert not interrupts._may_interrupt(frames[0].f_back)


def test_uninterrupted__step_inside_a_step_stores_without_interruption() -> None:
    job = InterruptibleJob(FakeClaim(OperationCanceled))
    with job.interrupts_allowed():
        assert store(job, lambda job: store(job, lambda job: 7)) == 7
    assert not job._was_interrupted
