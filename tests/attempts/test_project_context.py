"""The project's context manager is around the job and around its functions after it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pytest_django import Settings

from async_reply import services
from async_reply.attempts import runner
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from tests.project.tasks import echo

#: What `around` below and the jobs inside it have done.
EVENTS: list[str] = []


@contextmanager
def around(job: Job) -> Iterator[None]:
    """A context manager of a project, which knows the job's owner."""
    EVENTS.append(f"enter {job.owner}")
    try:
        yield
    finally:
        EVENTS.append("leave")


def refuse(job: Job) -> Any:
    """A function of a project that fails for each job."""
    raise LookupError(f"{job.owner} is not known")


def run_in(setting: str | None, settings: Settings, *, fails: bool = False) -> list[str]:
    """Run a job with `on_finish` while AROUND_JOB is `setting`; what happened, and the ending."""

    def job(operation: Job) -> None:
        EVENTS.append("job")
        operation.on_finish(lambda: EVENTS.append("on_finish"))
        operation.on_failure(lambda: EVENTS.append("on_failure"))
        if fails:
            raise ZeroDivisionError

    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "AROUND_JOB": setting}
    EVENTS.clear()
    operation = services.submit(echo, owner="acme:7")
    report = runner.run(operation.pk, Kind(name=echo.name, function=job), worker="w1")
    return [*EVENTS, report.ending.name]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("name", "fails", "expected"),
    [
        (None, False, ["job", "on_finish", "SUCCEEDED"]),
        (
            "around",
            True,
            ["enter acme:7", "job", "leave", "enter acme:7", "on_failure", "leave", "FAILED"],
        ),
        (
            "around",
            False,
            ["enter acme:7", "job", "leave", "enter acme:7", "on_finish", "leave", "SUCCEEDED"],
        ),
        ("refuse", False, ["FAILED"]),
    ],
)
def test_around__is_around_the_job_and_its_functions(
    settings: Settings, name: str | None, fails: bool, expected: list[str]
) -> None:
    path = name and f"{__name__}.{name}"
    assert run_in(path, settings, fails=fails) == expected
