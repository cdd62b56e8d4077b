import os
import time
from collections.abc import Callable, Iterator

import pytest
from django.db import OperationalError
from pytest_django import Settings

from async_reply import heartbeats, lifecycle, services
from async_reply.exceptions import ClaimLost, OperationCanceled
from async_reply.heartbeats import Claim, Ticker
from async_reply.models import Operation
from async_reply.status import Status
from tests.project.tasks import echo


@pytest.fixture
def operation() -> Operation:
    submitted = services.submit(echo)
    assert lifecycle.claim(submitted, worker="w1")
    return submitted


@pytest.fixture
def ticking(
    operation: Operation, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> Iterator[Claim]:
    """A claim that a real thread beats for, in quick time."""
    settings.ASYNC_REPLY = {"LEASE": 0.3}
    monkeypatch.setattr(heartbeats, "TICK", 0.05)
    monkeypatch.setattr(heartbeats, "TICK_AFTER_ERROR", 0.05)
    with heartbeats.hold(operation, inline=False) as claim:
        yield claim


def wait_until(condition: Callable[[], bool], *, seconds: float = 10) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


@pytest.mark.django_db(transaction=True)
def test_ticker__shows_progress_and_renews(ticking: Claim, operation: Operation) -> None:
    first = Operation.objects.get().lease_expires_at
    ticking.report(40, "page 4")
    wait_until(lambda: Operation.objects.get().progress == 40)
    wait_until(lambda: Operation.objects.get().lease_expires_at != first)
    assert Operation.objects.get().message == "page 4"


@pytest.mark.django_db(transaction=True)
def test_ticker__tells_of_a_cancel(ticking: Claim, operation: Operation) -> None:
    services.cancel(Operation.objects.get())

    def heard() -> bool:
        try:
            ticking.check()
        except OperationCanceled:
            return True
        return False

    wait_until(heard)


@pytest.mark.django_db(transaction=True)
def test_ticker__survives_a_database_that_is_away(
    ticking: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat, failures = lifecycle.beat, [OperationalError("away"), OperationalError("away")]

    def fail_twice(operation: Operation, **news: object) -> bool:
        if failures:
            raise failures.pop()
        return beat(operation, **news)  # type: ignore[arg-type]

    monkeypatch.setattr(lifecycle, "beat", fail_twice)
    ticking.report(50, "after all")
    wait_until(lambda: Operation.objects.get().progress == 50)
    assert failures == []


@pytest.mark.django_db
def test_claim__lost_to_another_attempt(operation: Operation) -> None:
    claim = Claim(operation, inline=True)
    claim.check()
    Operation.objects.update(attempt=2)
    with pytest.raises(ClaimLost):
        claim.check()


@pytest.mark.django_db
def test_claim__lost_between_look_and_write(operation: Operation) -> None:
    claim = Claim(operation, inline=False)
    claim.report(1, "")
    Operation.objects.update(status=Status.PENDING)
    claim.beat({operation.pk: (Status.RUNNING, operation.attempt)})
    with pytest.raises(ClaimLost):
        claim.check()


def test_ticker__child_process_starts_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    parents = Ticker()
    monkeypatch.setattr(heartbeats, "_ticker", parents)
    heartbeats._forget_parent()
    assert heartbeats._ticker is not parents
    assert os.getpid() > 0
