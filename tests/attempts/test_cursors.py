"""Loops that go on behind the last item that was done, and the state that a job keeps."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import OperationalError, transaction

from async_reply import lifecycle, services
from async_reply.attempts import claims, cursors, runner
from async_reply.attempts.cursors import Kept
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.attempts.reports import Ending, Report
from async_reply.exceptions import (
    PayloadError,
    PayloadTooLarge,
    StepFailed,
    StepRefused,
    WorkerStopping,
)
from async_reply.models import Operation, OperationStep
from tests.attempts.scripts import Script
from tests.project.tasks import echo

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("one_statement")]


def attempts(function: Callable[[Job], Any], *, count: int = 2) -> list[Report]:
    """Run `function` as the job of one operation, which is retried after an OSError."""
    operation = services.submit(echo)
    Operation.objects.update(max_retries=count)
    kind = Kind(
        name=echo.name,
        function=lambda operation: function(operation),
        max_retries=count,
        autoretry_for=(OSError,),
        default_retry_delay=0,
    )
    return [runner.run(operation.pk, kind, worker="w1", inline=True) for _ in range(count)]


@pytest.fixture
def groups() -> list[Group]:
    return [Group.objects.create(name=name) for name in "abcde"]


def names_of(rows: Any) -> list[str]:
    return [row.name for row in rows]


@pytest.mark.parametrize("rows_at_once", [1, 2, 500])
def test_track__queryset_goes_on_behind_the_last_row(
    rows_at_once: int, groups: list[Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A count would skip a row here: one that was done is deleted between two attempts."""
    monkeypatch.setattr(cursors, "ROWS_AT_ONCE", rows_at_once)
    done: list[str] = []
    progress: list[int | None] = []

    def job(job: Job) -> None:
        for row in job.track(Group.objects.all(), resume="groups"):
            if job.attempt == 1 and row.name == "c":
                groups[0].delete()
                Group.objects.create(name="f")
                raise OSError
            done.append(row.name)
        progress.append(Operation.objects.get().progress)

    assert [report.ending for report in attempts(job)] == [Ending.AGAIN, Ending.SUCCEEDED]
    assert done == ["a", "b", "c", "d", "e", "f"]
    assert progress == [100]


@pytest.mark.parametrize("source", [list("abcde"), tuple("abcde"), range(5)], ids=repr)
def test_track__sequence_goes_on_by_its_count(source: Any) -> None:
    done: list[Any] = []

    def job(job: Job) -> None:
        for item in job.track(source, resume="items"):
            if job.attempt == 1 and item == source[2]:
                raise OSError
            done.append(item)

    attempts(job)
    assert done == list(source)


def test_track__sequence_of_another_length_is_refused() -> None:
    def job(job: Job) -> None:
        for place, _ in enumerate(job.track([0] * (4 + job.attempt), resume="items")):
            if job.attempt == 1 and place == 1:
                raise OSError

    assert isinstance(attempts(job)[1].error, StepRefused)


def lines_behind(key: Any) -> Iterator[tuple[int, str]]:
    first = 0 if key is None else key + 10
    return ((number, f"line {number}") for number in range(first, 50, 10))


def test_track__other_source_says_what_is_behind_a_key() -> None:
    done: list[str] = []

    def job(job: Job) -> None:
        line: str
        for line in job.track(resume="lines", resume_from=lines_behind):
            if job.attempt == 1 and line == "line 20":
                raise OSError
            done.append(line)

    attempts(job)
    assert done == [f"line {number}" for number in range(0, 50, 10)]


@pytest.mark.parametrize(
    "key",
    [b"row", "\udcff", {1}, object(), 10**5000, "x" * 20_000],
    ids=["bytes", "surrogate", "set", "object", "huge", "long"],
)
def test_track__key_that_no_row_can_keep_fails_the_job(key: Any) -> None:
    """A file's name may hold half a surrogate pair, for example."""

    def job(job: Job, calls: list[str]) -> None:
        pairs = [(key, "a"), (key, "b")]
        calls.extend(job.track(resume="files", resume_from=lambda _key: pairs))

    script = Script(job)
    report = script.attempt()
    assert report.ending is Ending.FAILED
    assert isinstance(report.error, PayloadError)
    assert "The loop 'files' cannot keep the key of an item." in str(report.error)


@pytest.mark.parametrize(
    "source",
    [
        lambda: (letter for letter in "abc"),
        lambda: iter("abc"),
        lambda: {"a", "b"},
        lambda: Group.objects.values("name"),
        lambda: Group.objects.all()[:2],
        lambda: Group.objects.order_by("name"),
    ],
)
def test_track__source_without_places_is_refused(source: Callable[[], Any]) -> None:
    report = attempts(lambda job: list(job.track(source(), resume="items")), count=1)[0]
    assert isinstance(report.error, TypeError)


def test_track__loop_that_ended_is_a_step() -> None:
    done: list[int] = []

    def job(job: Job) -> None:
        done.extend(job.track(range(3), resume="items"))
        if job.attempt == 1:
            raise OSError

    attempts(job)
    step = OperationStep.objects.get()
    assert (step.name, step.value, done) == ("items", "3", [0, 1, 2])
    assert json.loads(Operation.objects.get().kept)["cursors"] == {}


def test_track__loop_that_was_left_is_no_step() -> None:
    done: list[int] = []

    def job(job: Job) -> None:
        for item in job.track(range(3), resume="items"):
            if item == 1 and job.attempt == 1:
                break
            done.append(item)
        if job.attempt == 1:
            raise OSError

    attempts(job)
    assert done == [0, 1, 2]


def test_track__name_is_used_once_in_an_attempt() -> None:
    def job(job: Job) -> None:
        for _ in range(2):
            list(job.track(range(3), resume="items"))

    assert isinstance(attempts(job, count=1)[0].error, StepRefused)


def test_track__is_refused_inside_a_transaction() -> None:
    def job(job: Job) -> None:
        with transaction.atomic():
            list(job.track(range(3), resume="items"))

    assert isinstance(attempts(job, count=1)[0].error, StepRefused)


def test_track__item_whose_step_failed_is_done_again() -> None:
    """The job caught the exception of the step. The cursor stays before that item."""
    done: list[int] = []

    def work(item: int) -> None:
        if item == 1 and not done.count(item):
            done.append(item)
            raise ValueError
        done.append(item)

    def job(job: Job) -> None:
        for item in job.track(range(3), resume="items"):
            with suppress(ValueError):
                job.step(f"item {item}", work, item)

    report = attempts(job, count=1)[0]
    assert isinstance(report.error, StepFailed)
    assert json.loads(Operation.objects.get().kept)["cursors"]["items"][1] == 1


def test_cursor__rides_in_a_release() -> None:
    def job(job: Job) -> None:
        for item in job.track(range(3), resume="items"):
            if item == 2:
                job._claim._interrupt(WorkerStopping)

    assert attempts(job, count=1)[0].ending is Ending.AGAIN
    assert json.loads(Operation.objects.get().kept)["cursors"]["items"][1] == 3


def test_cursor__rides_in_the_heartbeat_without_a_version(running: Operation) -> None:
    claim = claims.Claim(running, inline=True)
    Operation.objects.update(idle_releases=2)
    version = Operation.objects.get().version
    claim.kept.move("rows", uuid.UUID(int=7), 2, None)
    claim.beat(("running", 1, 0))
    row = Operation.objects.get()
    assert json.loads(row.kept)["cursors"] == {"rows": [str(uuid.UUID(int=7)), 2, None]}
    assert (row.version, row.idle_releases) == (version, 0)
    assert claim.unsaved_progress == {}


@pytest.mark.django_db(transaction=True)
def test_cursor__of_a_heartbeat_that_is_not_committed_is_written_again(
    running: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def broken(_pk: Any) -> Iterator[None]:
        with transaction.atomic():
            yield
            raise OperationalError("away")

    claim = claims.Claim(running, inline=False)
    claim.events.emit("row", 1)
    claim.kept.move("rows", 1, 1, None)
    claim.progress = (50, "half", 0, None)
    claim._renew_at = 0
    with monkeypatch.context() as patch:
        patch.setattr(claims, "locked", broken)
        with pytest.raises(OperationalError):
            claim.beat(("running", 1, 0))
    assert Operation.objects.get().kept == ""
    assert time.monotonic() >= claim._renew_at
    claim.beat(("running", 1, 0))
    row = Operation.objects.get()
    assert json.loads(row.kept)["cursors"] == {"rows": [1, 1, None]}
    assert (row.progress, row.events, row.kept_events) == (50, 1, 1)


def test_release__after_a_moved_cursor_is_the_first(running: Operation) -> None:
    claim = claims.Claim(running, inline=True)
    Operation.objects.update(idle_releases=2)
    claim.kept.move("rows", 1, 1, None)
    assert lifecycle.release(running, unsaved=claim.unsaved_progress)
    assert Operation.objects.get().idle_releases == 1


def test_state__is_kept_between_attempts() -> None:
    seen: list[Any] = []

    def job(job: Job) -> None:
        seen.append(job.state)
        job.state = {"attempt": job.attempt, "big": 1e20}
        job.state["lost"] = True
        if job.attempt == 1:
            raise OSError

    attempts(job)
    assert seen == [None, {"attempt": 1, "big": 1e20}]
    assert isinstance(seen[1]["big"], float)


@pytest.mark.parametrize(
    ("value", "error"), [(object(), PayloadError), ("x" * cursors.MAX_BYTES, PayloadTooLarge)]
)
def test_state__is_checked(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        Kept("").state = value


def test_kept__of_a_job_without_cursors_costs_nothing() -> None:
    assert Kept("").unsaved == {}


def test_purge__removes_cursors_and_state() -> None:
    def job(job: Job) -> None:
        job.state = "secret"
        job.step("a", int)

    attempts(job, count=1)
    assert "secret" in Operation.objects.get().kept
    services.delete(Operation.objects.get())
    assert Operation.objects.get().kept == ""
