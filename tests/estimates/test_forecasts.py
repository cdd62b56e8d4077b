"""Estimates of an answer: from the queue, the kind's history, the operation's own progress."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone
from rest_framework.test import APIClient

from async_reply import lifecycle, services, tasks
from async_reply.estimates import backlogs, histories
from async_reply.estimates.forecasts import Forecast
from async_reply.models import ESTIMATE_KEY, Operation, Worker
from async_reply.services import cancellation
from tests.project.tasks import echo, expected, sized

pytestmark = pytest.mark.django_db

Ran = Callable[..., None]


def running(operation: Operation, *, seconds: float, progress: int | None = None) -> Operation:
    """The operation after it has run for so many seconds."""
    assert lifecycle.claim(operation, worker="w")
    if progress is not None:
        assert lifecycle.beat(operation, progress=progress, message="")
    Operation.objects.filter(pk=operation.pk).update(
        started_at=F("started_at") - timedelta(seconds=seconds)
    )
    operation.refresh_from_db()
    return operation


def pending_behind(count: int) -> Operation:
    """A pending operation with so many others before it."""
    for _ in range(count):
        services.submit(echo)
    return services.submit(echo)


def retry_after(operation: Operation) -> int:
    return Forecast(operation).retry_after


def eta(operation: Operation) -> float | None:
    return Forecast(operation).eta_seconds


def queue_position(operation: Operation) -> int | None:
    return Forecast(operation).queue_position


def test_submit__retry_after_is_the_usual_duration(api: APIClient, ran: Ran) -> None:
    ran(*[3.0] * 20)
    response = api.post("/echoes/", {})
    assert response["Retry-After"] in {"3", "4"}
    document = api.get(response["Location"]).json()
    assert document["eta_seconds"] == pytest.approx(3, abs=0.2)
    assert document["queue_position"] == 1


def test_pending__time_in_the_queue_counts(ran: Ran) -> None:
    ran(*[10.0] * 20)
    last = pending_behind(20)
    Worker.objects.create(name="w", concurrency=1, queues=["celery"])
    assert lifecycle.claim(Operation.objects.due().order_by("pk")[0], worker="w")
    seconds = eta(last)
    assert seconds is not None
    # 19 others of 10 s each, half of the running one, and the operation itself
    assert seconds == pytest.approx(19.5 * 10 + 10, abs=1)
    assert 0.7 * seconds <= retry_after(last) <= seconds
    assert queue_position(last) == 20


def test_pending__starts_at_once_when_a_worker_is_free(ran: Ran) -> None:
    ran(*[10.0] * 20)
    last = pending_behind(2)
    Worker.objects.create(name="w", concurrency=4, queues=["celery"])
    assert eta(last) == pytest.approx(10, abs=0.1)
    assert retry_after(last) in {10, 11}


def test_pending__in_a_queue_that_no_worker_reads_has_no_eta(ran: Ran) -> None:
    """For a minute a worker may be about to start. Then clients come back less and less often."""
    ran(*[1.0] * 20)
    Worker.objects.create(name="w", concurrency=4, queues=["another"])
    last = pending_behind(0)
    assert eta(last) == pytest.approx(1, abs=0.2)
    assert retry_after(last) == 1
    ago = timezone.now() - timedelta(minutes=30)
    Operation.objects.update(created_at=ago, available_at=ago)
    last.refresh_from_db()
    backlogs.forget()
    assert eta(last) is None
    assert retry_after(last) > 60
    assert queue_position(last) == 1
    Worker.objects.update(queues=["celery"])
    backlogs.forget()
    assert eta(last) == pytest.approx(1, abs=0.2)
    assert retry_after(last) == 1


def test_pending__delay_counts(ran: Ran) -> None:
    ran(*[10.0] * 20)
    operation = services.submit(echo, available_at=timezone.now() + timedelta(seconds=100))
    assert eta(operation) == pytest.approx(110, abs=1)
    assert 75 <= retry_after(operation) <= 90
    assert queue_position(operation) is None


def test_pending__of_an_unknown_duration() -> None:
    operation = pending_behind(1)
    assert eta(operation) is None
    assert retry_after(operation) == 1
    assert queue_position(operation) == 2


def test_pending__too_far_back_to_be_counted(monkeypatch: pytest.MonkeyPatch, ran: Ran) -> None:
    monkeypatch.setattr(backlogs, "ROWS_READ", 3)
    ran(*[10.0] * 20)
    last = pending_behind(5)
    assert queue_position(last) is None
    assert retry_after(last) >= 25


def test_running__rest_of_the_usual_duration(ran: Ran) -> None:
    ran(*[10.0] * 20)
    operation = running(services.submit(echo), seconds=4)
    assert eta(operation) == pytest.approx(6, abs=0.5)
    assert retry_after(operation) in {6, 7}
    assert queue_position(operation) is None


def test_running__longer_than_any_operation_before(ran: Ran) -> None:
    ran(*[10.0] * 20)
    operation = running(services.submit(echo), seconds=500)
    assert 1 < retry_after(operation) < 500
    assert eta(operation) is not None


def test_running__own_progress_counts_more_the_further_it_is(ran: Ran) -> None:
    ran(*[10.0] * 20)
    operation = running(services.submit(echo), seconds=80, progress=80)
    seconds = eta(operation)
    assert seconds is not None
    assert 15 < seconds < 40
    assert 10 < retry_after(operation) < 40


def test_running__own_progress_alone() -> None:
    operation = running(services.submit(echo), seconds=60, progress=50)
    assert eta(operation) == pytest.approx(60, abs=1)
    assert 20 < retry_after(operation) <= 60


def test_running__progress_is_as_old_as_its_report() -> None:
    operation = running(services.submit(echo), seconds=60, progress=50)
    Operation.objects.filter(pk=operation.pk).update(
        updated_at=F("updated_at") - timedelta(seconds=20)
    )
    operation.refresh_from_db()
    # The first half took 40 s. The second half started 20 s ago and takes 20 s more.
    assert eta(operation) == pytest.approx(20, abs=1)


def test_steps__seconds_of_earlier_attempts_count(ran: Ran) -> None:
    ran(*[100] * 30)
    pending = services.submit(echo)
    Operation.objects.update(earlier_seconds=90)
    pending.refresh_from_db()
    before = Forecast(pending).eta_seconds
    pending.steps = 1
    after = Forecast(pending).eta_seconds
    assert before is not None
    assert after is not None
    assert before > 90 > 20 > after
    operation = running(pending, seconds=0, progress=90)
    operation.earlier_seconds, operation.steps = 90, 1
    assert Forecast(operation).eta_seconds == pytest.approx(10, abs=3)


def test_canceling__client_comes_back_soon(ran: Ran) -> None:
    ran(*[1000.0] * 20)
    operation = running(services.submit(echo), seconds=4)
    services.cancel(operation)
    operation.refresh_from_db()
    assert retry_after(operation) == 1
    assert eta(operation) is None


def test_expected_duration__counts_until_operations_have_ended(ran: Ran) -> None:
    operation = services.submit(expected)
    assert eta(operation) == pytest.approx(300, rel=0.2)
    assert 100 < retry_after(operation) < 400
    ran(*[10.0] * 20, kind=expected.name)
    histories.forget()
    assert retry_after(operation) in {10, 11}


def test_estimate_key__each_key_has_its_own_durations(ran: Ran) -> None:
    ran(*[2.0] * 10, kind=sized.name, reply={ESTIMATE_KEY: "1"})
    ran(*[50.0] * 10, kind=sized.name, reply={ESTIMATE_KEY: "4"})
    small = services.submit(sized, input={"rows": 1})
    assert retry_after(small) in {2, 3}
    small.delete()
    assert retry_after(services.submit(sized, input={"rows": 1000})) >= 50


def test_unknown_kind__is_no_error() -> None:
    operation: Any = Operation.objects.create(kind="renamed")
    assert retry_after(operation) == 1


def test_retry_after__a_hundred_clients_come_at_different_times(ran: Ran) -> None:
    ran(*[600.0] * 20)
    Worker.objects.create(name="w", concurrency=2000, queues=["celery"])
    waits = [retry_after(services.submit(echo)) for _ in range(100)]
    assert min(waits) >= 600
    assert max(waits) <= 700
    assert max(map(waits.count, waits)) < 40


class Calls:
    """Counts the calls of a function that it calls."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.count = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.count += 1
        return self.function(*args, **kwargs)


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[int]]:
    """Counts how often durations, positions and the task were looked up since the last call."""
    calls = [Calls(histories.durations), Calls(backlogs.position), Calls(tasks.get_task)]
    durations, position, get_task = calls
    monkeypatch.setattr(histories, "durations", durations)
    monkeypatch.setattr(backlogs, "position", position)
    monkeypatch.setattr("async_reply.estimates.forecasts.get_task", get_task)
    monkeypatch.setattr(cancellation, "get_task", get_task)

    def counts() -> list[int]:
        result = [call.count for call in calls]
        for call in calls:
            call.count = 0
        return result

    return counts


@pytest.mark.parametrize("durations", [[], [10.0] * 20], ids=["unknown", "known"])
@pytest.mark.parametrize("end", ["", "monitor/", "result/"])
def test_answer__makes_one_forecast(
    api: APIClient, ran: Ran, lookups: Callable[[], list[int]], durations: list[float], end: str
) -> None:
    """A 202 of a submit, a poll of a pending operation, a poll of a running operation."""
    ran(*durations)
    accepted = api.post("/echoes/", {})
    assert accepted.status_code == 202
    assert lookups() == [1, 1, 1]
    url = f"{accepted['Location']}{end}"
    pending = api.get(url)
    assert lookups() == [1, 1, 1]
    assert {"Retry-After"} <= set(pending.headers)
    assert (pending.json()["status"], pending.json()["queue_position"]) == ("pending", 1)
    running(Operation.objects.get(status="pending"), seconds=4)
    lookups()
    assert api.get(url).json()["status"] == "running"
    assert lookups() == [1, 0, 1]
