"""Events of a job: numbered, written under the guard of their attempt, kept within a bound."""

import json
import logging
import math
import os
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from async_reply import lifecycle, services
from async_reply.attempts import claims, event_storage, events, heartbeats, outages, runner
from async_reply.attempts.claims import Claim
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.attempts.reports import Ending
from async_reply.database.clock import after
from async_reply.exceptions import (
    ClaimLost,
    DatabaseAway,
    EventRefused,
    EventsTooLarge,
    OperationCanceled,
    PayloadError,
    WorkerStopping,
)
from async_reply.logs import OperationLogHandler
from async_reply.models import Operation, OperationEvents
from async_reply.services import retention
from async_reply.status import Status
from async_reply.testing import FakeJob
from tests.attempts.scripts import Script
from tests.concurrency import until
from tests.project.tasks import echo

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("one_statement")]

in_threads = pytest.mark.django_db(transaction=True)


def stored() -> list[dict[str, Any]]:
    """All events that are stored, in order."""
    rows = OperationEvents.objects.order_by("last")
    return [event for row in rows for event in json.loads(row.events)]


def brief() -> list[tuple[int, str, Any]]:
    return [(event["id"], event["event"], event["data"]) for event in stored()]


def interrupt(job: Job, interruption: Any) -> None:
    job._claim._interrupt(interruption)
    job.check_canceled()


def test_emit__events_are_stored_in_order() -> None:
    def job(job: Job, calls: list[str]) -> None:
        job.emit("row", {"b": 1, "a": [2.0, None]})
        job.log("halfway", level="warning")
        job.log(object, level=logging.DEBUG)
        job.emit("done")

    script = Script(job)
    before = timezone.now()
    assert script.attempt().ending is Ending.SUCCEEDED
    assert brief() == [
        (1, "row", {"b": 1, "a": [2.0, None]}),
        (2, "log", {"level": "WARNING", "text": "halfway"}),
        (3, "log", {"level": "DEBUG", "text": str(object)}),
        (4, "done", None),
    ]
    assert list(stored()[0]["data"]) == ["b", "a"]
    at = datetime.fromisoformat(stored()[0]["at"])
    assert abs((at - before).total_seconds()) < 60
    assert (script.operation.events, script.operation.kept_events) == (4, 0)
    row = OperationEvents.objects.get()
    assert (row.first, row.last, row.attempt, row.is_void) == (1, 4, 1, False)
    assert row.size == len(row.events.encode()) - 1
    assert 0 < row.log_size < row.size


def fail(job: Job) -> None:
    raise OSError


ENDINGS: dict[str, tuple[Callable[[Job], Any], Ending]] = {
    "retry": (fail, Ending.AGAIN),
    "explicit retry": (lambda job: job.retry(after=0), Ending.AGAIN),
    "release": (lambda job: interrupt(job, WorkerStopping), Ending.AGAIN),
    "success": (lambda job: None, Ending.SUCCEEDED),
    "failure": (lambda job: 1 / 0, Ending.FAILED),
    "result that is no JSON": (lambda job: object(), Ending.FAILED),
    "sleep": (lambda job: job.sleep("night", hours=1), Ending.PAUSED),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_events__of_an_attempt_are_written_before_its_end(name: str) -> None:
    end, ending = ENDINGS[name]

    def job(job: Job, calls: list[str]) -> Any:
        job.emit("first")
        return end(job)

    script = Script(job)
    assert script.attempt().ending is ending
    assert brief() == [(1, "first", None)]
    assert script.operation.events == 1


def test_events__of_a_canceled_attempt_are_written_before_its_end() -> None:
    def job(job: Job, calls: list[str]) -> None:
        job.emit("first")
        services.cancel(Operation.objects.get())
        job.check_canceled()

    assert Script(job).attempt().ending is Ending.CANCELED
    assert brief() == [(1, "first", None)]


def test_events__of_an_attempt_that_begins_anew_are_void() -> None:
    def job(job: Job, calls: list[str]) -> None:
        job.emit("attempt", job.attempt)
        if job.attempt < 3:
            raise OSError

    script = Script(job)
    assert [script.attempt().ending for _ in range(3)][2] is Ending.SUCCEEDED
    assert brief() == [
        *[(1, "attempt", 1), (2, "reset", {"after": 0}), (3, "attempt", 2)],
        *[(4, "reset", {"after": 0}), (5, "attempt", 3)],
    ]
    rows = OperationEvents.objects.order_by("last")
    assert [row.is_void for row in rows] == [True, True, False]


def test_events__of_an_attempt_that_emits_nothing_are_void_as_well() -> None:
    def job(job: Job, calls: list[str]) -> None:
        if job.attempt == 1:
            job.emit("first")
            raise OSError

    script = Script(job)
    script.attempt()
    assert script.attempt().ending is Ending.SUCCEEDED
    assert brief() == [(1, "first", None), (2, "reset", {"after": 0})]


@pytest.mark.parametrize("atomic", [False, True])
def test_events__of_a_step_are_kept(atomic: bool) -> None:
    def job(job: Job, calls: list[str]) -> None:
        job.step("one", job.emit, "one", atomic=atomic)
        job.emit("two")
        if job.attempt == 1:
            raise OSError

    script = Script(job)
    script.attempt()
    assert script.operation.kept_events == 1
    assert script.attempt().ending is Ending.SUCCEEDED
    assert brief() == [
        *[(1, "one", None), (2, "two", None)],
        *[(3, "reset", {"after": 1}), (4, "two", None)],
    ]
    rows = OperationEvents.objects.order_by("last")
    assert [row.is_void for row in rows] == [False, True, False]


def test_events__of_items_that_are_done_are_kept() -> None:
    def job(job: Job, calls: list[str]) -> None:
        for item in job.track(range(3), resume="items"):
            job.emit("item", item)
            if item == 1 and job.attempt == 1:
                raise OSError

    script = Script(job)
    script.attempt()
    assert script.operation.kept_events == 1
    script.attempt()
    assert [(number, data) for number, name, data in brief() if name == "item"] == [
        *[(1, 0), (2, 1), (4, 1), (5, 2)],
    ]
    assert brief()[2] == (3, "reset", {"after": 1})


def test_events__state_that_is_set_later_takes_none_of_them_back() -> None:
    def job(job: Job, calls: list[str]) -> None:
        for item in job.track([1], resume="items"):
            job.emit("item", item)
        job.step("two", job.emit, "two")
        job.state = "later"
        if job.attempt == 1:
            raise OSError

    script = Script(job)
    script.attempt()
    assert (script.operation.events, script.operation.kept_events) == (2, 2)
    script.attempt()
    assert [name for _, name, _ in brief()] == ["item", "two"]


def test_events__before_a_sleep_are_kept() -> None:
    def job(job: Job, calls: list[str]) -> None:
        job.step("one", job.emit, "one")
        job.sleep("night", hours=1)
        job.emit("two")

    script = Script(job)
    assert script.attempt().ending is Ending.PAUSED
    Operation.objects.update(available_at=after(-1))
    script.operation.stored_steps.filter(name="night").update(until=after(-1))
    assert script.attempt().ending is Ending.SUCCEEDED
    assert [name for _, name, _ in brief()] == ["one", "two"]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        (1, TypeError),
        *[(name, ValueError) for name in ("", "a b", "1a", "a" * 65, "ä", "a\n")],
        *[(name, ValueError) for name in ("log", "reset", "truncated", "succeeded", "error")],
    ],
)
def test_emit__checks_the_name(name: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        FakeJob().emit(name)


@pytest.mark.parametrize("name", ["a", "a" * 64, "row.added", "Row_2-b"])
def test_emit__takes_names_of_events(name: str) -> None:
    job = FakeJob()
    job.emit(name, {"n": 1})
    assert job.emitted == [(name, {"n": 1})]


@pytest.mark.parametrize("data", [object(), float("nan"), "\x00", "\ud800", {1j: 2}])
def test_emit__checks_the_data(data: Any) -> None:
    with pytest.raises(PayloadError):
        FakeJob().emit("row", data)


def test_emit__takes_64_kib_at_a_time() -> None:
    job = FakeJob()
    job.emit("row", "x" * (events.MAX_EVENT_BYTES - 2))
    with pytest.raises(EventsTooLarge, match="several"):
        job.emit("row", "x" * (events.MAX_EVENT_BYTES - 1))
    assert len(job.emitted) == 1


@pytest.mark.parametrize("level", ["loud", 17, ""])
def test_log__checks_the_level(level: Any) -> None:
    with pytest.raises(ValueError, match="level"):
        FakeJob().log("text", level=level)


def test_log__cuts_and_cleans_its_text() -> None:
    job = FakeJob()
    job.log("a\x00\ud800" + "x" * 5000, level="info")
    ((level, text),) = job.logged
    assert level == "INFO"
    assert text.startswith("a\\x00\\ud800x")
    assert len(text) == events.MAX_LINE_CHARACTERS


@pytest.mark.parametrize("earlier", [0, 1])
def test_emit__fails_beyond_the_bound_of_all_attempts(earlier: int, settings: Settings) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "MAX_EVENTS": 2000}

    def job(job: Job, calls: list[str]) -> None:
        for number in range(100):
            job.step(f"step {number}", job.emit, "row", "x" * 100)
            if number == 5 and job.attempt <= earlier:
                raise OSError

    script = Script(job)
    for _ in range(earlier):
        assert script.attempt().ending is Ending.AGAIN
    assert isinstance(script.attempt().error, EventsTooLarge)
    error: Any = script.operation.error
    assert error["code"] == "events-too-large"
    assert "2,000 are allowed" in error["detail"]
    emitted = [event for event in stored() if event["event"] == "row"]
    size = sum(OperationEvents.objects.values_list("size", flat=True))
    assert 2000 <= size < 2400
    assert len(emitted) == script.operation.events - earlier * ("reset" in str(brief()))


def test_log__loses_its_oldest_lines_and_no_event(settings: Settings) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "MAX_EVENTS": 4000}

    def job(job: Job, calls: list[str]) -> None:
        for number in range(100):
            job.log(f"line {number}")
            if number % 10 == 0:
                job.emit("row", number)
            job.step(f"step {number}", int)

    script = Script(job)
    assert script.attempt().ending is Ending.SUCCEEDED
    assert script.operation.events == 110
    rows = [data for _, name, data in brief() if name == "row"]
    lines = [data["text"] for _, name, data in brief() if name == "log"]
    assert rows == list(range(0, 100, 10))
    assert lines == [f"line {number}" for number in range(100 - len(lines), 100)]
    assert 2500 < sum(OperationEvents.objects.values_list("size", flat=True)) <= 4000
    for row in OperationEvents.objects.all():
        assert row.size == len(row.events.encode()) - 1


def test_log__void_events_go_first(settings: Settings) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "MAX_EVENTS": 2000}

    def job(job: Job, calls: list[str]) -> None:
        for _ in range(12):
            job.emit("row", "x" * 20)
        if job.attempt == 1:
            raise OSError
        job.log("x" * 200)

    script = Script(job)
    script.attempt()
    assert script.attempt().ending is Ending.SUCCEEDED
    assert [number for number, _, _ in brief()] == list(range(13, 27))


@pytest.mark.parametrize("public_logs", [False, True])
def test_handler__adds_the_lines_of_the_job(public_logs: bool) -> None:
    log = logging.getLogger("shop.tasks")

    def job(job: Job, calls: list[str]) -> None:
        log.warning("%s left", 3)
        logging.getLogger("async_reply").warning("ours")
        logging.getLogger("django.db.backends").warning("SELECT 1")
        thread = threading.Thread(target=log.warning, args=("of another thread",))
        thread.start()
        thread.join()

    script = Script(job, public_logs=public_logs)
    handler = OperationLogHandler()
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    logging.root.addHandler(handler)
    try:
        log.warning("before")
        assert script.attempt().ending is Ending.SUCCEEDED
        log.warning("after")
    finally:
        logging.root.removeHandler(handler)
    (event,) = stored()
    assert event["data"] == {"level": "WARNING", "text": "shop.tasks: 3 left"}
    assert event.get("private", False) is not public_logs


def test_handler__never_fails_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    def job(job: Job, calls: list[str]) -> None:
        logging.getLogger("shop").warning("line")

    def refuse(*_arguments: Any, **_options: Any) -> None:
        raise OSError

    monkeypatch.setattr(events.EventLog, "log", refuse)
    monkeypatch.setattr(logging, "raiseExceptions", False)
    handler = OperationLogHandler()
    logging.root.addHandler(handler)
    try:
        assert Script(job).attempt().ending is Ending.SUCCEEDED
    finally:
        logging.root.removeHandler(handler)


def test_emit__after_the_job_is_refused() -> None:
    """In a function of on_finish, and by a thread that outlives the job."""
    handles: list[Job] = []

    def job(job: Job, calls: list[str]) -> None:
        handles.append(job)
        job.on_finish(lambda: job.emit("late"))

    script = Script(job)
    report = script.attempt()
    assert isinstance(report.error, EventRefused)
    with pytest.raises(EventRefused, match="return what clients need"):
        handles[0].log("later")
    assert stored() == []


def test_emit__in_another_process_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    job = FakeJob()
    monkeypatch.setattr(job._claim, "pid", os.getpid() + 1)
    with pytest.raises(EventRefused, match="own process"):
        job.emit("row")


def test_job__with_events_pays_one_statement(
    one_statement: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "INLINE_BEAT_SECONDS", 60)

    def count(function: Callable[..., Any]) -> int:
        script = Script(function)
        with CaptureQueriesContext(connection) as captured:
            script.attempt()
        return len([sql for sql in captured if "SAVEPOINT" not in sql["sql"]])

    def emitting(job: Job, calls: list[str]) -> None:
        for number in range(100):
            job.emit("row", number)

    more = count(emitting) - count(lambda job, calls: job.check_canceled())
    assert more == (1 if one_statement else 2)


def test_purge__removes_the_events() -> None:
    script = Script(lambda job, calls: job.emit("row"))
    script.attempt()
    Operation.objects.update(expires_at=after(-1), purge_at=after(-1))
    assert retention.purge() == 1
    assert not OperationEvents.objects.exists()


def test_delete__removes_the_events() -> None:
    script = Script(lambda job, calls: job.emit("row"))
    script.attempt()
    services.delete(script.operation)
    assert not OperationEvents.objects.exists()


# With a thread that writes.


@pytest.fixture
def claim() -> Iterator[Claim]:
    """The claim of an attempt, for which the heartbeat's thread writes."""
    operation = services.submit(echo)
    assert lifecycle.claim(operation, worker="w1")
    with heartbeats.kept_alive(operation, inline=False) as claim:
        yield claim
        # The thread writes nothing more while the tables are emptied.
        with claim.lock:
            claim.events._is_lost = True


@in_threads
def test_emit__first_event_is_written_at_once(
    claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one waits for the pause, and is the whole rest."""
    monkeypatch.setattr(events, "PAUSE_SECONDS", 3600)
    job = Job(claim.operation, claim)
    job.emit("first")
    until(lambda: brief() == [(1, "first", None)])
    until(lambda: claim.events.due_at == math.inf)  # the thread knows that it is written
    job.emit("second")
    job.emit("third")
    assert claim.events.due_at > 3000
    claim.events._may_write_at = 0
    heartbeats._heart.wake()
    until(lambda: len(stored()) == 3)
    assert [row.last for row in OperationEvents.objects.order_by("last")] == [1, 3]


@in_threads
def test_emit__64_kib_are_written_at_once(claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PAUSE_SECONDS", 3600)
    job = Job(claim.operation, claim)
    job.emit("first")
    until(lambda: len(stored()) == 1)
    job.emit("big", "x" * 60_000)
    job.emit("big", "x" * 60_000)
    until(lambda: len(stored()) == 3)


@in_threads
def test_emit__waits_while_64_kib_are_unwritten(
    claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "PAUSE_SECONDS", 0.01)
    job = Job(claim.operation, claim)
    done: list[int] = []

    def emit() -> None:
        for number in range(3):
            job.emit("big", "x" * 60_000)
            done.append(number)

    with claim.lock:  # as if a step were being stored
        thread = threading.Thread(target=emit)
        thread.start()
        until(lambda: len(done) == 1)
        thread.join(0.1)
        assert done == [0]
    thread.join(10)
    assert done == [0, 1, 2]


@in_threads
def test_emit__gives_up_after_a_lease(claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "lease_seconds", lambda: 0.05)
    job = Job(claim.operation, claim)
    with claim.lock:
        in_other_thread(lambda: job.emit("big", "x" * 60_000))
        with pytest.raises(DatabaseAway):
            in_other_thread(lambda: job.emit("big", "x" * 65_000))


@in_threads
def test_emit__hears_of_a_cancel_while_it_waits(claim: Claim) -> None:
    job = Job(claim.operation, claim)
    claim.interruption = OperationCanceled
    with claim.lock, pytest.raises(OperationCanceled):
        in_other_thread(lambda: job.emit("big", "x" * 65_000))


def in_other_thread(function: Callable[[], None]) -> None:
    """Call it while this thread holds the claim's lock, and raise what it raises."""
    raised: list[BaseException] = []

    def call() -> None:
        try:
            function()
        except (DatabaseAway, OperationCanceled) as error:
            raised.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(10)
    if raised:
        raise raised[0]


@in_threads
def test_emit__in_a_transaction_of_the_job_does_not_wait(claim: Claim) -> None:
    """The thread that writes may have to wait for that transaction."""
    job = Job(claim.operation, claim)
    with claim.lock, transaction.atomic():
        for _ in range(4):
            job.emit("big", "x" * 60_000)
    until(lambda: len(stored()) == 4)


@in_threads
def test_events__of_an_attempt_that_lost_its_claim_are_nowhere(claim: Claim) -> None:
    job = Job(claim.operation, claim)
    job.emit("first")
    until(lambda: len(stored()) == 1)
    Operation.objects.update(attempt=2, worker="w2")
    job.emit("late")
    until(lambda: claim.interruption is ClaimLost)
    assert brief() == [(1, "first", None)]
    with pytest.raises(ClaimLost):
        claim.end_events()
    assert brief() == [(1, "first", None)]


def break_write(monkeypatch: pytest.MonkeyPatch, *, stored: bool) -> list[int]:
    """The first write ends in an error. `stored`: it is committed nevertheless."""
    write = event_storage.write
    tries: list[int] = []

    def broken(*arguments: Any) -> bool:
        tries.append(1)
        if len(tries) > 1:
            return write(*arguments)
        if stored:
            assert write(*arguments)
            transaction.commit()
        raise OperationalError("away")

    monkeypatch.setattr(event_storage, "write", broken)
    monkeypatch.setattr(outages, "PAUSE_SECONDS", 0)
    return tries


@in_threads
@pytest.mark.parametrize("stored_first", [False, True])
def test_events__after_an_error_are_stored_once(
    stored_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = break_write(monkeypatch, stored=stored_first)
    if stored_first:
        monkeypatch.setattr(transaction, "commit", lambda: None)
    script = Script(lambda job, calls: job.emit("row"))
    assert script.attempt().ending is Ending.SUCCEEDED
    assert len(tries) == 2
    assert brief() == [(1, "row", None)]


@in_threads
@pytest.mark.parametrize("failures", [1, 2])
@pytest.mark.parametrize("stored_first", [False, True])
def test_write__after_an_error_writes_later_events_too(
    stored_first: bool, failures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`stored_first`: the events of the tries that failed are committed nevertheless."""
    operation = services.submit(echo)
    assert lifecycle.claim(operation, worker="w1")
    log = events.EventLog(operation)
    write = event_storage.write

    def broken(operation: Operation, batch: Any, sizes: Any) -> bool:
        if stored_first:
            assert write(operation, batch, sizes)
        raise OperationalError("away")

    log.emit("first", None)
    for number in range(failures):
        with monkeypatch.context() as patch:
            patch.setattr(event_storage, "write", broken)
            with pytest.raises(OperationalError):
                log.write()
        log.emit("later", number)
    assert log.write()
    log.mark_written()
    assert [name for _, name, _ in brief()] == ["first", *["later"] * failures]
    assert Operation.objects.get().events == failures + 1
    assert log.due_at == float("inf")


@in_threads
def test_events__of_a_database_that_stays_away_lose_the_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(*_arguments: Any) -> bool:
        raise OperationalError("away")

    monkeypatch.setattr(event_storage, "write", away)
    monkeypatch.setattr(outages, "lease_seconds", lambda: 0)
    script = Script(lambda job, calls: job.emit("row"))
    with pytest.raises(DatabaseAway):
        script.attempt()
    assert Operation.objects.get().status == Status.RUNNING


@in_threads
def test_events__of_an_atomic_step_that_is_rolled_back_are_written_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The transaction of the step had them written, and fails at its end."""
    store_step, tries = lifecycle.store_step, []

    def broken(*arguments: Any, **options: Any) -> bool:
        tries.append(1)
        if len(tries) == 1:
            raise OperationalError("deadlock detected")
        return store_step(*arguments, **options)

    monkeypatch.setattr(lifecycle, "store_step", broken)
    monkeypatch.setattr(outages, "PAUSE_SECONDS", 0)

    def job(job: Job, calls: list[str]) -> None:
        job.emit("before")
        job.step("one", job.emit, "inside", atomic=True)

    script = Script(job)
    assert script.attempt().ending is Ending.SUCCEEDED
    assert [name for _, name, _ in brief()] == ["before", "inside", "inside"]
    assert script.operation.kept_events == 3


@in_threads
def test_run__with_the_heartbeat_writes_all_events() -> None:
    def function(operation: Job) -> None:
        for number in range(500):
            operation.emit("row", number)

    operation = services.submit(echo)
    runner.run(operation.pk, Kind(name=echo.name, function=function), worker="w1")
    assert [data for _, _, data in brief()] == list(range(500))
    assert Operation.objects.get().events == 500


@in_threads
def test_events__inside_an_atomic_step_wait_where_it_locks_the_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The thread that writes would hold the claim's lock, for which the step waits at its end."""
    monkeypatch.setattr(events, "PAUSE_SECONDS", 0.01)
    is_alone = not connection.features.has_select_for_update
    write, postpone = event_storage.write, events.EventLog.postpone
    calls: list[str] = []

    def watched_write(*arguments: Any) -> bool:
        calls.append("write")
        return write(*arguments)

    def watched_postpone(log: events.EventLog) -> None:
        calls.append("postpone")
        postpone(log)

    monkeypatch.setattr(event_storage, "write", watched_write)
    monkeypatch.setattr(events.EventLog, "postpone", watched_postpone)

    def function(operation: Job) -> None:
        def insert() -> None:
            Group.objects.create(name="written")
            operation.emit("row", 1)
            until(lambda: bool(calls))
            assert calls[0] == ("postpone" if is_alone else "write")

        operation.step("one", insert, atomic=True)

    operation = services.submit(echo)
    report = runner.run(operation.pk, Kind(name=echo.name, function=function), worker="w1")
    assert report.error is None
    assert [data for _, _, data in brief()] == [1]
