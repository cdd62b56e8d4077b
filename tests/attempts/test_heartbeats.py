"""The claim of a running attempt, and the thread that renews its lease."""

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
from async_reply.attempts import claims, heartbeats, interrupts, outages, runner
from async_reply.attempts.claims import Claim
from async_reply.attempts.heartbeats import Heart
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.attempts.reports import Ending
from async_reply.database import alias
from async_reply.database.leases import lease_seconds
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
def beating(
    operation: Operation, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> Iterator[Claim]:
    """A claim for which a real thread beats, with short pauses."""
    settings.ASYNC_REPLY = {"LEASE": 0.3}
    monkeypatch.setattr(heartbeats, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(outages, "PAUSE_SECONDS", 0.05)
    with heartbeats.kept_alive(operation, inline=False) as claim:
        yield claim


def wait_until(condition: Callable[[], bool], *, seconds: float = 10) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


@pytest.mark.django_db(transaction=True)
def test_heart__shows_progress_and_renews(beating: Claim, operation: Operation) -> None:
    lease_before = Operation.objects.get().lease_expires_at
    beating.progress = (40, "page 4", 0, None)
    wait_until(lambda: Operation.objects.get().progress == 40)
    wait_until(lambda: Operation.objects.get().lease_expires_at != lease_before)
    assert Operation.objects.get().message == "page 4"


@pytest.mark.django_db(transaction=True)
def test_heart__tells_of_a_cancel(beating: Claim, operation: Operation) -> None:
    services.cancel(Operation.objects.get())

    def is_canceled() -> bool:
        try:
            beating.check()
        except OperationCanceled:
            return True
        return False

    wait_until(is_canceled)


@pytest.mark.django_db(transaction=True)
def test_heart__survives_a_database_that_is_away(
    beating: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat, failures = lifecycle.beat, [OperationalError("away"), OperationalError("away")]

    def fail_twice(operation: Operation, **progress: object) -> bool:
        if failures:
            raise failures.pop()
        return beat(operation, **progress)  # type: ignore[arg-type]

    monkeypatch.setattr(lifecycle, "beat", fail_twice)
    beating.progress = (50, "after all", 0, None)
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
def test_claim__lost_between_read_and_write(operation: Operation) -> None:
    claim = Claim(operation, inline=False)
    claim.progress = (1, "", 0, None)
    Operation.objects.update(status=Status.PENDING)
    claim.beat((Status.RUNNING, operation.attempt, 0))
    with pytest.raises(ClaimLost):
        claim.check()


def test_heart__is_made_anew_in_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    parents_heart = Heart()
    monkeypatch.setattr(heartbeats, "_heart", parents_heart)
    heartbeats._make_heart_of_child()
    assert heartbeats._heart is not parents_heart


@pytest.mark.django_db(transaction=True)
def test_heart__tells_of_another_attempt(beating: Claim, operation: Operation) -> None:
    Operation.objects.update(status=Status.PENDING)
    assert lifecycle.claim(Operation.objects.get(), worker="w2")
    with pytest.raises(ClaimLost):
        wait_until(lambda: bool(beating.check()))  # type: ignore[func-returns-value]


@pytest.mark.django_db(transaction=True)
def test_run__job_hears_of_a_cancel_from_the_heart(monkeypatch: pytest.MonkeyPatch) -> None:
    def job(operation: Job) -> None:
        services.cancel(Operation.objects.get(pk=operation.id))
        give_up = time.monotonic() + 10
        while time.monotonic() < give_up:
            operation.progress(1, 2)

    monkeypatch.setattr(heartbeats, "BEAT_SECONDS", 0.05)
    operation = services.submit(echo)
    report = runner.run(operation.pk, Kind(name=echo.name, function=job), worker="w1")
    operation.refresh_from_db()
    assert (report.ending, operation.status) == (Ending.CANCELED, Status.CANCELED)


@pytest.mark.django_db(transaction=True)
def test_heart__beats_for_several_claims_and_sleeps_without_a_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heartbeats, "BEAT_SECONDS", 0.02)
    claims = []
    for _ in range(3):
        submitted = services.submit(echo)
        assert lifecycle.claim(submitted, worker="w1")
        claims.append(Claim(submitted, inline=False))
    heart, disconnected = Heart(), threading.Event()
    monkeypatch.setattr(heartbeats, "disconnect", and_set(disconnected, database.disconnect))
    for number, claim in enumerate(claims):
        heart.add(claim)
        claim.progress = (number, "", 0, None)
    wait_until(lambda: {0, 1, 2} == {*Operation.objects.values_list("progress", flat=True)})
    disconnected.clear()
    for claim in claims:
        heart.remove(claim)
    assert disconnected.wait(10)


@pytest.mark.django_db(transaction=True)
def test_heart__beats_for_a_claim_that_did_not_wake_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waking the thread for each of many short jobs costs much, and it looks once a beat anyway."""
    heart = Heart()
    notify, woken = heart._changed.notify, []

    def count() -> None:
        woken.append(True)
        notify()

    monkeypatch.setattr(heart._changed, "notify", count)
    for number in (1, 2):
        submitted = services.submit(echo)
        assert lifecycle.claim(submitted, worker="w1")
        claim = Claim(submitted, inline=False)
        heart.add(claim)
        wait_until(lambda: not heart._is_idle)
        if number == 1:
            heart.remove(claim)
    assert len(woken) <= 1  # the first claim starts the thread, which may be idle by then
    claim.progress = (7, "", 0, None)
    wait_until(lambda: Operation.objects.filter(pk=submitted.pk, progress=7).exists())
    heart.remove(claim)


def and_set(event: threading.Event, function: Callable[[], None]) -> Callable[[], None]:
    def call() -> None:
        function()
        event.set()

    return call


def test_disconnect__raises_nothing_for_a_broken_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> None:
        raise InterfaceError("2006")

    monkeypatch.setattr(connections[alias()], "close", fail)
    assert database.disconnect() is None  # type: ignore[func-returns-value]


@pytest.mark.django_db
def test_claim__writes_progress_again_after_an_error(
    operation: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> bool:
        raise InterfaceError("connection already closed")

    claim = Claim(operation, inline=True)
    claim.progress = (40, "page 4", 0, None)
    with monkeypatch.context() as outage:
        outage.setattr(lifecycle, "beat", fail)
        with pytest.raises(InterfaceError):
            claim.check()
    claim.check()
    assert Operation.objects.get().progress == 40


@pytest.mark.django_db
def test_claim__does_not_write_the_same_progress_twice(operation: Operation) -> None:
    claim = Claim(operation, inline=True)
    claim.progress = (40, "page 4", 0, None)
    claim.check()
    version = Operation.objects.get().version
    claim.progress = (40, "page 4", 0, None)
    claim.check()
    assert Operation.objects.get().version == version


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_heart__is_another_one_in_a_forked_child() -> None:
    parents_heart = heartbeats._heart
    child = os.fork()
    if not child:
        os._exit(0 if heartbeats._heart is not parents_heart else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert heartbeats._heart is parents_heart


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
def test_claim__is_interrupted_when_the_worker_stops(operation: Operation) -> None:
    with pytest.raises(WorkerStopping):
        Claim(operation, inline=True).check()


@pytest.mark.usefixtures("stopping")
@pytest.mark.django_db
def test_claim__without_losses_is_not_interrupted_when_the_worker_stops(
    operation: Operation,
) -> None:
    operation.max_losses = 0
    Claim(operation, inline=True).check()


@pytest.mark.django_db
def test_claim__inline_reads_its_row_once_in_a_while(
    operation: Operation, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    monkeypatch.setattr(claims, "INLINE_BEAT_SECONDS", 3600)
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
    ("progress", "text"),
    [
        ((1, "page", 0, None), "page"),
        ((1, "page", 2, 9), "page 2 of 9"),
        ((None, "page", 2, None), "page 2"),
        ((1, "", 2, 9), "2 of 9"),
        ((1, gettext_lazy("Home"), 0, None), "Home"),
        ((1, "a\x00b", 0, None), r"a\x00b"),
    ],
)
def test_claim__writes_the_message(operation: Operation, progress: Any, text: str) -> None:
    claim = Claim(operation, inline=True)
    claim.progress = progress
    claim.check()
    assert Operation.objects.get().message == text


@pytest.fixture
def neglected(operation: Operation, monkeypatch: pytest.MonkeyPatch) -> Claim:
    """A running job whose heart has had no connection for two thirds of the lease."""
    claim, heart = Claim(operation, inline=False), Heart()
    heart._claims.append(claim)
    was_neglected: list[bool] = []
    with monkeypatch.context() as outage:
        outage.setattr(heartbeats, "beat", refuse)
        for seconds_late in (-lease_seconds(), claims.renewal_seconds()):
            claim._renew_at = time.monotonic() - seconds_late
            assert heart._beat() == outages.PAUSE_SECONDS
            was_neglected.append(claim.is_neglected)
    assert was_neglected == [False, True]
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
def test_neglected_job__does_not_beat_inside_its_own_transaction(neglected: Claim) -> None:
    """Others would see the renewal only at the end, and the row would be locked until then."""
    before = Operation.objects.get().lease_expires_at
    with transaction.atomic():
        Job(neglected.operation, neglected).progress(50)
    assert Operation.objects.get().lease_expires_at == before


@pytest.mark.django_db(transaction=True)
def test_neglected_job__goes_on_when_it_cannot_beat_either(
    neglected: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "beat", refuse)
    Job(neglected.operation, neglected).progress(50)
    assert neglected.is_neglected


@pytest.mark.django_db(transaction=True)
def test_neglected_job__forked_child_does_not_beat(
    neglected: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child would use the connection of its parent."""
    neglected.pid += 1
    monkeypatch.setattr(claims, "beat", lambda _: pytest.fail("the child has beaten"))
    Job(neglected.operation, neglected).progress(50)
    assert neglected.is_neglected


@pytest.mark.django_db
def test_renewal_seconds__is_a_third_of_the_lease(settings: Settings) -> None:
    settings.ASYNC_REPLY = {"LEASE": 30}
    assert claims.renewal_seconds() == 10
