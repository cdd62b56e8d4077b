"""Interruptions end a job at a chosen call, as clients, workers and clocks do."""

from collections.abc import Callable

import pytest
from django.db import transaction

from async_reply import services
from async_reply.attempts.jobs import Job
from async_reply.exceptions import (
    NotCancelable,
    OperationCanceled,
    TimeLimitExceeded,
    WorkerStopping,
)
from async_reply.models import Operation, OperationAttempt
from async_reply.tasks import operation_task
from async_reply.testing import (
    Ending,
    Interruption,
    WorkerLost,
    cancel_at,
    lose_at,
    run_operations,
    stop_at,
    time_out_at,
)
from tests.project.tasks import persist

pytestmark = pytest.mark.django_db

#: The interruptions that the job `count` saw.
seen: list[str] = []


@operation_task(name="tests.testing.count", max_losses=1)
def count(operation: Job) -> int:
    try:
        with transaction.atomic():
            Operation.objects.filter(pk=operation.id).update(extra={"half": True})
            for _ in operation.track(range(3)):
                pass
    except BaseException as error:
        seen.append(type(error).__name__)
        raise
    return operation.attempt


@operation_task(name="tests.testing.fragile", max_losses=0)
def fragile(operation: Job) -> None:
    operation.check_canceled()


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    seen.clear()


@pytest.mark.parametrize(
    ("interruption", "endings", "error"),
    [
        (cancel_at, [Ending.CANCELED], OperationCanceled),
        (lose_at, [Ending.LOST, Ending.SUCCEEDED], WorkerLost),
        (stop_at, [Ending.AGAIN, Ending.SUCCEEDED], WorkerStopping),
        (time_out_at, [Ending.FAILED], TimeLimitExceeded),
    ],
)
def test_interruption__ends_the_first_attempt_and_takes_its_writes_back(
    interruption: Callable[[int], Interruption], endings: list[Ending], error: type[BaseException]
) -> None:
    operation = services.submit(count)
    reports = run_operations(interruption=interruption(2), advance=True)
    assert [report.ending for report in reports] == endings
    assert seen == [error.__name__]
    operation.refresh_from_db()
    assert operation.extra == ({"half": True} if Ending.SUCCEEDED in endings else {})
    assert operation.attempt == len(endings)


def test_cancel_at__is_a_request_of_the_client() -> None:
    services.submit(count)
    run_operations(interruption=cancel_at(1))
    assert Operation.objects.get().cancel_requested_at is not None


def test_lose_at__leaves_the_operation_running_until_the_lease_is_over() -> None:
    services.submit(count)
    run_operations(interruption=lose_at(1))
    assert Operation.objects.get().status == "running"
    assert run_operations() == []
    run_operations(interruption=lose_at(1), advance=True)
    assert Operation.objects.get().error["code"] == "worker-lost"
    outcomes = OperationAttempt.objects.order_by("number").values_list("outcome", flat=True)
    assert list(outcomes) == ["lost", "lost"]


def test_stop_at__is_not_heard_by_a_job_that_may_run_only_once() -> None:
    services.submit(fragile)
    (report,) = run_operations(interruption=stop_at(1))
    assert report.ending is Ending.SUCCEEDED


def test_interruption__that_no_job_reaches_fails_the_test() -> None:
    services.submit(count)
    with pytest.raises(AssertionError, match="No job reached call 9: the last made 4"):
        run_operations(interruption=cancel_at(9))


def test_interruption__counts_from_one() -> None:
    with pytest.raises(ValueError, match="count from 1"):
        cancel_at(0)


def test_cancel_at__names_a_kind_that_no_client_can_cancel() -> None:
    services.submit(persist)
    with pytest.raises(NotCancelable, match=r"tests\.persist"):
        run_operations(interruption=cancel_at(1))
