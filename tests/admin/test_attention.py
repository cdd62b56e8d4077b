"""Operations that somebody should look at."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.test import Client
from django.utils import timezone

from async_reply.admin import attention, windows
from async_reply.models import Operation
from async_reply.status import Status
from tests.admin.conftest import LIST, shown


def test_attention__finds_operations_that_nobody_claims_or_that_do_not_stop(
    in_status: Callable[..., Operation], admin_client: Client, django_assert_max_num_queries: Any
) -> None:
    ago = timezone.now() - attention.UNCLAIMED_AFTER - timedelta(seconds=5)
    later = timezone.now() + timedelta(hours=1)
    unclaimed, stopping = in_status(Status.PENDING), in_status(Status.CANCELING)
    Operation.objects.update(available_at=ago, cancel_requested_at=ago)
    in_status(Status.PENDING)
    in_status(Status.CANCELING)
    delayed = in_status(Status.PENDING)
    Operation.objects.filter(pk=delayed.pk).update(available_at=later)
    with django_assert_max_num_queries(11):
        response = admin_client.get(LIST, {"attention": "stuck"})
    assert shown(response) == [stopping, unclaimed]
    assert shown(admin_client.get(LIST, {"attention": "nonsense"})) != []


def test_attention__finds_attempts_whose_lease_is_over(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    late = [in_status(Status.RUNNING), in_status(Status.CANCELING)]
    Operation.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=5))
    in_status(Status.RUNNING)
    assert shown(admin_client.get(LIST, {"attention": "overdue"})) == late[::-1]


def test_attention__finds_operations_that_are_released_and_get_no_further(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    idle = [in_status(Status.PENDING), in_status(Status.RUNNING)]
    Operation.objects.update(idle_releases=3)
    finished = in_status(Status.SUCCEEDED)
    Operation.objects.filter(pk=finished.pk).update(idle_releases=3)
    in_status(Status.RUNNING)
    assert shown(admin_client.get(LIST, {"attention": "idle"})) == idle[::-1]


def test_attention__looks_at_the_oldest_operations(
    in_status: Callable[..., Operation], monkeypatch: Any
) -> None:
    monkeypatch.setattr(windows, "MAX_ROWS", 2)
    rows = [in_status(Status.PENDING) for _ in range(3)]
    Operation.objects.update(available_at=timezone.now() - timedelta(hours=1))
    assert attention.stuck() == [row.pk for row in rows[:2]]
