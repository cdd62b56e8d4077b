from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone
from rest_framework.test import APIClient

from async_reply import lifecycle, services
from async_reply.estimates import backlogs, forecasts, histories
from async_reply.models import ESTIMATE_KEY, Operation, Worker
from tests.project.tasks import echo, expected, sized

pytestmark = pytest.mark.django_db

Ran = Callable[..., None]


def running(operation: Operation, *, since: float, progress: int | None = None) -> Operation:
    """The operation after it has run for so many seconds."""
    assert lifecycle.claim(operation, worker="w")
    if progress is not None:
        assert lifecycle.beat(operation, progress=progress, message="")
    Operation.objects.filter(pk=operation.pk).update(
        started_at=F("started_at") - timedelta(seconds=since)
    )
    operation.refresh_from_db()
    return operation


def behind(count: int) -> Operation:
    """The last of so many that wait in the queue and one more."""
    for _ in range(count):
        services.submit(echo)
    return services.submit(echo)


def test_submit__retry_after_is_what_the_kind_takes(api: APIClient, ran: Ran) -> None:
    ran(*[3.0] * 20)
    response = api.post("/echoes/", {})
    assert response["Retry-After"] in {"3", "4"}
    document = api.get(response["Location"]).json()
    assert document["eta_seconds"] == pytest.approx(3, abs=0.2)
    assert document["queue_position"] == 1


def test_pending__the_queue_counts(ran: Ran) -> None:
    ran(*[10.0] * 20)
    last = behind(20)
    Worker.objects.create(name="w", concurrency=1, queues=["celery"])
    assert lifecycle.claim(Operation.objects.due().order_by("pk")[0], worker="w")
    eta = forecasts.eta(last)
    assert eta is not None
    # 19 others of 10 s each, half of the one that runs, and itself
    assert eta == pytest.approx(19.5 * 10 + 10, abs=1)
    assert 0.7 * eta <= forecasts.retry_after(last) <= eta
    assert forecasts.queue_position(last) == 20


def test_pending__a_free_worker_takes_it_at_once(ran: Ran) -> None:
    ran(*[10.0] * 20)
    last = behind(2)
    Worker.objects.create(name="w", concurrency=4, queues=["celery"])
    assert forecasts.eta(last) == pytest.approx(10, abs=0.1)
    assert forecasts.retry_after(last) in {10, 11}


def test_pending__delayed_start(ran: Ran) -> None:
    ran(*[10.0] * 20)
    operation = services.submit(echo, available_at=timezone.now() + timedelta(seconds=100))
    assert forecasts.eta(operation) == pytest.approx(110, abs=1)
    assert 75 <= forecasts.retry_after(operation) <= 90
    assert forecasts.queue_position(operation) is None


def test_pending__nothing_known() -> None:
    operation = behind(1)
    assert forecasts.eta(operation) is None
    assert forecasts.retry_after(operation) == 1
    assert forecasts.queue_position(operation) == 2


def test_pending__too_far_back_to_be_counted(monkeypatch: pytest.MonkeyPatch, ran: Ran) -> None:
    monkeypatch.setattr(backlogs, "LOOKED_AT", 3)
    ran(*[10.0] * 20)
    last = behind(5)
    assert forecasts.queue_position(last) is None
    assert forecasts.retry_after(last) >= 25


def test_running__what_remains(ran: Ran) -> None:
    ran(*[10.0] * 20)
    operation = running(services.submit(echo), since=4)
    assert forecasts.eta(operation) == pytest.approx(6, abs=0.5)
    assert forecasts.retry_after(operation) in {6, 7}
    assert forecasts.queue_position(operation) is None


def test_running__longer_than_any_before(ran: Ran) -> None:
    ran(*[10.0] * 20)
    operation = running(services.submit(echo), since=500)
    assert 1 < forecasts.retry_after(operation) < 500
    assert forecasts.eta(operation) is not None


def test_running__own_progress_counts_the_more_the_further_it_got(ran: Ran) -> None:
    ran(*[10.0] * 20)
    operation = running(services.submit(echo), since=80, progress=80)
    slow = forecasts.eta(operation)
    assert slow is not None
    assert 15 < slow < 40
    assert 10 < forecasts.retry_after(operation) < 40


def test_running__progress_is_all_that_is_known() -> None:
    operation = running(services.submit(echo), since=60, progress=50)
    assert forecasts.eta(operation) == pytest.approx(60, abs=1)
    assert 20 < forecasts.retry_after(operation) <= 60


def test_running__progress_is_as_old_as_it_was_told() -> None:
    operation = running(services.submit(echo), since=60, progress=50)
    Operation.objects.filter(pk=operation.pk).update(
        updated_at=F("updated_at") - timedelta(seconds=20)
    )
    operation.refresh_from_db()
    # 40 s for the first half, of which another 40 - 20 s are left
    assert forecasts.eta(operation) == pytest.approx(20, abs=1)


def test_canceling__is_asked_about_soon(ran: Ran) -> None:
    ran(*[1000.0] * 20)
    operation = running(services.submit(echo), since=4)
    services.cancel(operation)
    operation.refresh_from_db()
    assert forecasts.retry_after(operation) == 1
    assert forecasts.eta(operation) is None


def test_expected_duration__counts_from_the_first_operation_on(ran: Ran) -> None:
    operation = services.submit(expected)
    assert forecasts.eta(operation) == pytest.approx(300, rel=0.2)
    assert 100 < forecasts.retry_after(operation) < 400
    ran(*[10.0] * 20, kind=expected.name)
    histories.forget()
    assert forecasts.retry_after(operation) in {10, 11}


def test_estimate_key__classes_are_told_apart(ran: Ran) -> None:
    ran(*[2.0] * 10, kind=sized.name, reply={ESTIMATE_KEY: "1"})
    ran(*[50.0] * 10, kind=sized.name, reply={ESTIMATE_KEY: "4"})
    small = services.submit(sized, input={"rows": 1})
    assert forecasts.retry_after(small) in {2, 3}
    small.delete()
    assert forecasts.retry_after(services.submit(sized, input={"rows": 1000})) >= 50


def test_unknown_kind__is_no_error() -> None:
    operation: Any = Operation.objects.create(kind="renamed")
    assert forecasts.retry_after(operation) == 1


def test_retry_after__a_thousand_do_not_come_at_once(ran: Ran) -> None:
    ran(*[600.0] * 20)
    Worker.objects.create(name="w", concurrency=2000, queues=["celery"])
    told = [forecasts.retry_after(services.submit(echo)) for _ in range(100)]
    assert min(told) >= 600
    assert max(told) <= 700
    assert max(map(told.count, told)) < 40
