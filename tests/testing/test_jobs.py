"""FakeJob calls a job by itself and records what it shows and stores."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from async_reply.attempts.jobs import Job
from async_reply.exceptions import (
    JobInterrupted,
    OperationCanceled,
    PayloadError,
    RetryLater,
    TimeLimitExceeded,
    WorkerStopping,
)
from async_reply.testing import (
    FakeFile,
    FakeJob,
    Interruption,
    Shown,
    WorkerLost,
    cancel_at,
    lose_at,
    stop_at,
    time_out_at,
)
from tests.project.tasks import echo


def work(operation: Job) -> None:
    operation.progress(150, message="too far")
    operation.progress(1, None, "no total")
    operation.check_canceled()
    for _ in operation.track("ab", description="Letter"):
        pass


def test_shown__is_what_clients_see() -> None:
    job = FakeJob()
    work(job)
    assert job.shown == [
        Shown(100, "too far"),
        Shown(None, "no total"),
        Shown(0, "Letter"),
        Shown(50, "Letter 1 of 2"),
        Shown(100, "Letter 2 of 2"),
    ]


def test_job__is_who_the_test_says() -> None:
    pk = UUID(int=7)
    job = FakeJob(id=pk, attempt=2, owner="ada", extra={"tenant": 3}, input={"rows": 1})
    assert (job.id, job.attempt, job.owner, job.extra) == (pk, 2, "ada", {"tenant": 3})
    assert echo(job) == {"rows": 1}
    assert FakeJob().id != FakeJob().id


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (cancel_at, OperationCanceled),
        (lose_at, WorkerLost),
        (stop_at, WorkerStopping),
        (time_out_at, TimeLimitExceeded),
    ],
)
def test_interruption__is_raised_at_its_call(
    make: Callable[[int], Interruption], error: type[JobInterrupted]
) -> None:
    job = FakeJob(interruption=make(3))
    with pytest.raises(error):
        work(job)
    assert len(job.shown) == 2


def test_files__have_their_content_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("from disk")
    job = FakeJob()
    job.file(path, name="a.txt", content_type="text/plain")
    result = job.file(iter([b"1", b"2"]), name="../b c.bin")
    assert job.files == [
        FakeFile("a.txt", "text/plain", b"from disk"),
        FakeFile("b_c.bin", "application/octet-stream", b"12"),
    ]
    assert result.file is not None
    assert result.file.size == 2


def test_file__refuses_what_a_real_job_refuses() -> None:
    with pytest.raises(PayloadError, match="media type"):
        FakeJob().file(b"", name="a", content_type="nonsense")


def test_retry__and_on_finish() -> None:
    job = FakeJob()
    with pytest.raises(RetryLater):
        job.retry(after=60)
    calls: list[int] = []
    job.on_finish(lambda: calls.append(1))
    assert calls == []
    job.finish()
    assert calls == [1]


def test_on_failure__and_on_cancel() -> None:
    job = FakeJob()
    calls: list[str] = []
    job.on_failure(lambda: calls.append("failed"))
    job.on_cancel(lambda: calls.append("canceled"))
    job.finish()
    assert calls == []
    job.fail()
    assert calls == ["failed"]
    job.cancel()
    assert calls == ["failed", "canceled"]


def in_steps(operation: Job) -> list[Any]:
    first = operation.step("first", int, "7")
    with pytest.raises(ValueError, match="invalid literal"):
        operation.step("refused", int, "x", stores=(ValueError,))
    return [first, operation.step("file", operation.file, b"x", name="x.txt").read()]


def test_steps__are_stored_in_memory() -> None:
    job = FakeJob()
    assert in_steps(job) == [7, b"x"]
    assert job.steps == {"first": 7, "refused": "builtins.ValueError", "file": "x.txt"}
    assert [file.content for file in job.files] == [b"x"]


def test_steps__of_an_earlier_attempt_are_not_run() -> None:
    assert in_steps(FakeJob(attempt=2, steps={"first": 8})) == [8, b"x"]


@pytest.mark.parametrize(("call", "stored"), [(1, []), (2, ["first"]), (3, ["first"])])
def test_steps__are_interrupted_before_and_after(call: int, stored: list[str]) -> None:
    job = FakeJob(interruption=lose_at(call))
    with pytest.raises(WorkerLost):
        in_steps(job)
    assert list(job.steps) == stored
