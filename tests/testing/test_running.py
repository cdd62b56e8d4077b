"""`run_operations`, which runs submitted operations in the tests of a project."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from async_reply import services
from async_reply.attempts.jobs import Job
from async_reply.attempts.reports import Ending
from async_reply.exceptions import RetryLater, UnknownKind
from async_reply.models import Operation
from async_reply.status import Status
from async_reply.tasks import operation_task
from async_reply.testing import run_operations
from tests.project.tasks import break_down, echo

pytestmark = pytest.mark.django_db


@operation_task(name="tests.worker.chain")
def chain(operation: Job, *, left: int) -> int:
    if left:
        services.submit(chain, input={"left": left - 1})
    return left


@operation_task(name="tests.worker.later", max_retries=2)
def later(operation: Job, *, after: float) -> Any:
    return operation.retry(after=after)


@operation_task(name="tests.worker.flaky", autoretry_for=ConnectionError, default_retry_delay=0)
def flaky(operation: Job) -> None:
    if operation.attempt == 1:
        raise ConnectionError("the first attempt")


def test_run_operations__runs_the_oldest_first_and_operations_of_jobs_too() -> None:
    services.submit(chain, input={"left": 2})
    services.submit(break_down)
    reports = run_operations()
    assert [report.ending for report in reports] == [
        Ending.SUCCEEDED,
        Ending.FAILED,
        Ending.SUCCEEDED,
        Ending.SUCCEEDED,
    ]
    values = Operation.objects.order_by("pk").values_list("result__value", flat=True)
    assert list(values) == [2, None, 1, 0]
    assert run_operations() == []


@pytest.mark.parametrize(
    ("after", "endings", "status"),
    [
        (60, [Ending.AGAIN], Status.PENDING),
        (0, [Ending.AGAIN, Ending.AGAIN, Ending.FAILED], Status.FAILED),
    ],
)
def test_run_operations__runs_retries_that_are_due(
    after: float, endings: list[Ending], status: Status
) -> None:
    services.submit(later, input={"after": after})
    assert [report.ending for report in run_operations()] == endings
    assert Operation.objects.get().status == status


def test_run_operations__advanced_takes_each_delay_as_over_in_its_order() -> None:
    services.submit(later, input={"after": 3600})
    tomorrow = timezone.now() + timedelta(days=1)
    services.submit(echo, available_at=tomorrow + timedelta(days=1))
    services.submit(echo, available_at=tomorrow)
    reports = run_operations(advance=True)
    again, done = Ending.AGAIN, Ending.SUCCEEDED
    assert [report.ending for report in reports] == [again, again, Ending.FAILED, done, done]
    assert [type(report.error) for report in reports[:3]] == [RetryLater] * 3
    starts = Operation.objects.filter(kind=echo.name).order_by("started_at")
    assert [row.pk for row in starts] == [row.pk for row in starts.order_by("-pk")]


def test_run_operations__advanced_takes_a_lost_operation_from_its_worker(
    running: Operation,
) -> None:
    assert run_operations() == []
    (report,) = run_operations(advance=True)
    assert report.ending is Ending.SUCCEEDED
    running.refresh_from_db()
    assert (running.losses, running.attempt) == (1, 2)


def test_run_operations__reports_the_exception_of_an_attempt_that_is_tried_again() -> None:
    services.submit(flaky)
    first, second = run_operations()
    assert (first.ending, str(first.error)) == (Ending.AGAIN, "the first attempt")
    assert (second.ending, second.error) == (Ending.SUCCEEDED, None)


def test_run_operations__does_not_run_operations_of_tomorrow() -> None:
    services.submit(echo, available_at=timezone.now() + timedelta(days=1))
    assert run_operations() == []


def test_run_operations__runs_as_many_as_the_limit() -> None:
    services.submit(chain, input={"left": 2})
    assert len(run_operations(limit=3)) == 3


def test_run_operations__names_an_unknown_kind() -> None:
    services.submit(echo)
    Operation.objects.update(kind="nobody.knows")
    with pytest.raises(UnknownKind, match=r"nobody\.knows"):
        run_operations()
