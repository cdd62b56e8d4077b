import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError, connections, transaction
from django.utils.translation import gettext_lazy
from pytest_django import Settings

from async_reply import database, lifecycle, services
from async_reply.attempts import claims, heartbeats, interrupts, runner
from async_reply.attempts.claims import Claim
from async_reply.attempts.heartbeats import Ticker
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.attempts.runner import Ending
from async_reply.database import alias
from async_reply.exceptions import (
    ClaimLost,
    OperationCanceled,
    TimeLimitExceeded,
    WorkerStopping,
)
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
    ticking.news = (40, "page 4", 0, None)
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
    ticking.news = (50, "after all", 0, None)
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
    claim.news = (1, "", 0, None)
    Operation.objects.update(status=Status.PENDING)
    claim.beat({operation.pk: (Status.RUNNING, operation.attempt)})
    with pytest.raises(ClaimLost):
        claim.check()


def test_ticker__child_process_starts_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    parents = Ticker()
    monkeypatch.setattr(heartbeats, "_ticker", parents)
    heartbeats._forget_parent()
    assert heartbeats._ticker is not parents


@pytest.mark.django_db(transaction=True)
def test_ticker__tells_of_another_attempt(ticking: Claim, operation: Operation) -> None:
    Operation.objects.update(status=Status.PENDING)
    assert lifecycle.claim(Operation.objects.get(), worker="w2")
    with pytest.raises(ClaimLost):
        wait_until(lambda: bool(ticking.check()))  # type: ignore[func-returns-value]


@pytest.mark.django_db(transaction=True)
def test_run__job_in_another_thread_hears_of_its_cancel(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    def job(operation: Job) -> None:
        services.cancel(Operation.objects.get(pk=operation.id))
        give_up = time.monotonic() + 10
        while time.monotonic() < give_up:
            operation.progress(1, 2)

    monkeypatch.setattr(heartbeats, "TICK", 0.05)
    operation = services.submit(echo)
    report = runner.run(operation.pk, Kind(name=echo.name, function=job), worker="w1")
    operation.refresh_from_db()
    assert (report.ending, operation.status) == (Ending.CANCELED, Status.CANCELED)


@pytest.mark.django_db(transaction=True)
def test_ticker__beats_for_several_and_rests_without_a_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heartbeats, "TICK", 0.02)
    claims = []
    for _ in range(3):
        submitted = services.submit(echo)
        assert lifecycle.claim(submitted, worker="w1")
        claims.append(Claim(submitted, inline=False))
    ticker, closed = Ticker(), threading.Event()
    monkeypatch.setattr(heartbeats, "disconnect", signaling(closed, database.disconnect))
    for number, claim in enumerate(claims):
        ticker.add(claim)
        claim.news = (number, "", 0, None)
    wait_until(lambda: {0, 1, 2} == {*Operation.objects.values_list("progress", flat=True)})
    closed.clear()
    for claim in claims:
        ticker.remove(claim)
    assert closed.wait(10)


def signaling(event: threading.Event, function: Callable[[], None]) -> Callable[[], None]:
    def call() -> None:
        function()
        event.set()

    return call


def test_disconnect__of_a_connection_that_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise InterfaceError("2006")

    monkeypatch.setattr(connections[alias()], "close", fail)
    assert database.disconnect() is None  # type: ignore[func-returns-value]


@pytest.mark.django_db
def test_claim__news_are_not_lost_with_an_error(
    operation: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> bool:
        raise InterfaceError("connection already closed")

    claim = Claim(operation, inline=True)
    claim.news = (40, "news", 0, None)
    with monkeypatch.context() as outage:
        outage.setattr(lifecycle, "beat", fail)
        with pytest.raises(InterfaceError):
            claim.check()
    claim.check()
    assert Operation.objects.get().progress == 40


@pytest.mark.django_db
def test_claim__same_news_is_no_news(operation: Operation) -> None:
    claim = Claim(operation, inline=True)
    claim.news = (40, "page 4", 0, None)
    claim.check()
    version = Operation.objects.get().version
    claim.news = (40, "page 4", 0, None)
    claim.check()
    assert Operation.objects.get().version == version


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_ticker__forked_child_has_a_thread_of_its_own() -> None:
    parents = heartbeats._ticker
    child = os.fork()
    if not child:
        os._exit(0 if heartbeats._ticker is not parents else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert heartbeats._ticker is parents


@pytest.mark.django_db
def test_claim__past_its_deadline(operation: Operation) -> None:
    operation.time_limit = 0
    claim = Claim(operation, inline=True)
    with pytest.raises(TimeLimitExceeded):
        claim.check()


@pytest.fixture
def stopping() -> Iterator[None]:
    """The worker was told to stop."""
    interrupts.stopping.set()
    yield
    interrupts.stopping.clear()


@pytest.mark.usefixtures("stopping")
@pytest.mark.django_db
def test_claim__leaves_a_worker_that_stops(operation: Operation) -> None:
    with pytest.raises(WorkerStopping):
        Claim(operation, inline=True).check()


@pytest.mark.usefixtures("stopping")
@pytest.mark.django_db
def test_claim__that_must_not_be_repeated_stays_while_the_worker_stops(
    operation: Operation,
) -> None:
    operation.max_losses = 0
    Claim(operation, inline=True).check()


@pytest.mark.django_db
def test_claim__beating_for_itself_looks_once_in_a_while(
    operation: Operation, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    monkeypatch.setattr(claims, "INLINE_TICK", 3600)
    claim = Claim(operation, inline=True)
    with django_assert_num_queries(1):
        for _ in range(100):
            claim.check()
    services.cancel(Operation.objects.get())
    claim.check()
    with pytest.raises(OperationCanceled):
        claim.check(now=True)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("news", "text"),
    [
        ((1, "page", 0, None), "page"),
        ((1, "page", 2, 9), "page 2 of 9"),
        ((None, "page", 2, None), "page 2"),
        ((1, "", 2, 9), "2 of 9"),
        ((1, gettext_lazy("Home"), 0, None), "Home"),
        ((1, "a\x00b", 0, None), r"a\x00b"),
    ],
)
def test_claim__message(operation: Operation, news: Any, text: str) -> None:
    claim = Claim(operation, inline=True)
    claim.news = news
    claim.check()
    assert Operation.objects.get().message == text


@pytest.fixture
def neglected(operation: Operation, monkeypatch: pytest.MonkeyPatch) -> Claim:
    """A healthy job whose heartbeat has got no connection for two thirds of its lease."""
    claim, ticker = Claim(operation, inline=False), Ticker()
    ticker._claims.append(claim)
    neglected: list[bool] = []
    with monkeypatch.context() as starving:
        starving.setattr(heartbeats, "beat", refuse)
        for late in (-lifecycle.lease(), lifecycle.lease() / 3):
            claim._renew_at = time.monotonic() - late
            assert ticker._tick() == heartbeats.TICK_AFTER_ERROR
            neglected.append(claim.is_neglected)
    assert neglected == [False, True]
    return claim


def refuse(*_: Any, **__: Any) -> None:
    raise OperationalError("too many connections for role")


CALLS: dict[str, Callable[[Job], object]] = {
    "progress": lambda job: job.progress(50),
    "track": lambda job: list(job.track([1])),
    "check_canceled": lambda job: job.check_canceled(),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("call", CALLS)
def test_neglected_job__renews_its_lease_at_its_next_call(neglected: Claim, call: str) -> None:
    before = Operation.objects.get().lease_expires_at
    CALLS[call](Job(neglected.operation, neglected))
    after = Operation.objects.get().lease_expires_at
    assert before is not None
    assert after is not None
    assert after > before
    assert not neglected.is_neglected


@pytest.mark.django_db(transaction=True)
def test_neglected_job__does_not_beat_within_its_own_transaction(neglected: Claim) -> None:
    """Nobody would see it before the end, and the row would be locked until then."""
    before = Operation.objects.get().lease_expires_at
    with transaction.atomic():
        Job(neglected.operation, neglected).progress(50)
    assert Operation.objects.get().lease_expires_at == before


@pytest.mark.django_db(transaction=True)
def test_neglected_job__hears_nothing_where_it_cannot_beat_either(
    neglected: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "beat", refuse)
    Job(neglected.operation, neglected).progress(50)
    assert neglected.is_neglected
