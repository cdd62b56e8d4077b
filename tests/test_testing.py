"""`run_operations`, which runs submitted operations in the tests of a project."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from async_reply import services
from async_reply.attempts.jobs import Job
from async_reply.attempts.runner import Ending
from async_reply.exceptions import UnknownKind
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
