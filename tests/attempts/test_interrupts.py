import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from async_reply import lifecycle, services
from async_reply.attempts import heartbeats, interrupts, runner
from async_reply.attempts.claims import Claim
from async_reply.attempts.interrupts import Target
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.attempts.runner import Ending, Report
from async_reply.exceptions import ClaimLost, JobInterrupted, OperationCanceled
from async_reply.models import Operation
from async_reply.status import Status
from tests.project.tasks import echo


class Told:
    """Stands for a claim whose job is to be told something."""

    def __init__(self, interruption: type[JobInterrupted] | None = None) -> None:
        self.interruption = interruption


@pytest.fixture(autouse=True)
def _handler() -> Iterator[None]:
    before = signal.getsignal(interrupts.SIGNAL)
    yield
    signal.signal(interrupts.SIGNAL, before)


def test_target__is_hit_inside_the_block_alone() -> None:
    told = Told(OperationCanceled)
    target = Target(told)
    target.hit()
    with pytest.raises(OperationCanceled), target.exposed():
        target.hit()
    os.kill(os.getpid(), interrupts.SIGNAL)
    assert target._was_hit


def test_target__is_hit_once() -> None:
    told = Told(OperationCanceled)
    target = Target(told)
    with target.exposed():
        with pytest.raises(OperationCanceled):
            target.hit()
        target.hit()
        os.kill(os.getpid(), interrupts.SIGNAL)


def test_target__late_signal_does_not_hit_the_next_job() -> None:
    first, second = Target(Told(OperationCanceled)), Target(Told())
    with pytest.raises(OperationCanceled), first.exposed():
        first.hit()
    with second.exposed():
        os.kill(os.getpid(), interrupts.SIGNAL)
        first.hit()


def test_target__elsewhere_than_in_the_main_thread_is_never_exposed() -> None:
    seen: list[bool] = []

    def job() -> None:
        target = Target(Told(ClaimLost))
        with target.exposed():
            target.hit()
            seen.append(target._is_exposed)

    thread = threading.Thread(target=job)
    thread.start()
    thread.join()
    assert seen == [False]


def spin(operation: Job) -> None:
    """Cancels itself and never calls in again."""
    services.cancel(Operation.objects.get(pk=operation.id))
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up:
        pass


def nap(operation: Job) -> None:
    """As `spin`, inside one call to the system."""
    services.cancel(Operation.objects.get(pk=operation.id))
    time.sleep(20)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("job", [spin, nap])
def test_run__job_that_never_calls_in_is_interrupted(
    job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeats, "TICK", 0.05)
    operation = services.submit(echo)
    kind = Kind(name=echo.name, function=job, cancel="interrupt")
    started = time.monotonic()
    assert runner.run(operation.pk, kind, worker="w1") == Report(Ending.CANCELED)
    assert time.monotonic() - started < 15
    operation.refresh_from_db()
    assert operation.status == Status.CANCELED


@pytest.mark.django_db(transaction=True)
def test_run__interrupted_job_may_clean_up(monkeypatch: pytest.MonkeyPatch) -> None:
    cleaned: list[bool] = []

    def job(operation: Job) -> None:
        try:
            nap(operation)
        finally:
            give_up = time.monotonic() + 0.5
            while time.monotonic() < give_up:
                time.sleep(0.01)
            cleaned.append(True)

    monkeypatch.setattr(heartbeats, "TICK", 0.05)
    operation = services.submit(echo)
    kind = Kind(name=echo.name, function=job, cancel="interrupt")
    assert runner.run(operation.pk, kind, worker="w1").ending is Ending.CANCELED
    assert cleaned == [True]


@pytest.mark.django_db(transaction=True)
def test_run__job_that_was_done_first_has_succeeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interruption comes between the job's return and its finish: too late."""
    succeed = lifecycle.succeed
    claims: list[Claim] = []

    def job(operation: Job) -> int:
        claims.append(operation._claim)
        return 7

    def be_late(operation: Operation, **options: Any) -> bool:
        [claim] = claims
        assert claim.target is not None
        claim.interruption = OperationCanceled
        claim.target.hit()
        return succeed(operation, **options)

    monkeypatch.setattr(lifecycle, "succeed", be_late)
    operation = services.submit(echo)
    kind = Kind(name=echo.name, function=job, cancel="interrupt")
    assert runner.run(operation.pk, kind, worker="w1").ending is Ending.SUCCEEDED


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_flag__is_shared_with_children() -> None:
    flag = interrupts.Flag()
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
