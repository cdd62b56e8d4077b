"""The ways in which a project submits and runs jobs.

Eagerly, in its tests, in transactions, from a job and from a command.
"""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import BaseCommand, call_command
from django.db import transaction
from django.test import TestCase, TransactionTestCase
from django.utils import timezone
from rest_framework.test import APIClient

from async_reply import services
from async_reply.attempts.jobs import Job
from async_reply.attempts.reports import Ending
from async_reply.models import Operation
from async_reply.status import Status
from async_reply.tasks import operation_task
from async_reply.testing import run_operations
from tests.conftest import configure_celery
from tests.project.tasks import break_down, echo, refuse


@operation_task(name="tests.newcomer.nest")
def nest(operation: Job, *, depth: int) -> str:
    """Submits itself until `depth` is 0."""
    if depth:
        inner = services.submit(nest, input={"depth": depth - 1}, owner=operation.owner)
        return str(inner.pk)
    return "bottom"


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch, real_send: None, transactional_db: None) -> None:
    configure_celery(monkeypatch, task_always_eager=True, task_eager_propagates=True)


def statuses() -> list[str]:
    return list(Operation.objects.order_by("pk").values_list("status", flat=True))


def test_eager__result_exists_right_after_the_202(eager: None, api: APIClient) -> None:
    accepted = api.post("/echoes/", {"number": 7})
    assert (accepted.status_code, accepted.json()["status"]) == (202, "pending")
    assert api.get(accepted["Location"], follow=True).json() == {"number": 7}


@pytest.mark.parametrize(("url", "status"), [("/refusals/", 422), ("/breakdowns/", 409)])
def test_eager__failing_job_is_202(eager: None, api: APIClient, url: str, status: int) -> None:
    accepted = api.post(url)
    assert (accepted.status_code, accepted.json()["status"]) == (202, "pending")
    assert api.get(accepted["Location"], follow=True).status_code == status


@pytest.mark.parametrize(
    ("url", "status"), [("/echoes/", 200), ("/refusals/", 422), ("/breakdowns/", 409)]
)
def test_eager__client_that_prefers_to_wait_gets_the_result(
    eager: None, user: User, url: str, status: int
) -> None:
    api = APIClient()
    api.force_login(user)
    answer = api.post(url, {}, headers={"Prefer": "wait=30"})
    assert (answer.status_code, answer["Preference-Applied"]) == (status, "wait=30")
    assert answer["Content-Location"].endswith("/result/")
    assert "Location" not in answer


def test_eager__job_runs_after_the_commit(eager: None) -> None:
    with transaction.atomic():
        services.submit(echo)
        assert statuses() == [Status.PENDING]
    assert statuses() == [Status.SUCCEEDED]
    with transaction.atomic():
        services.submit(echo)
        transaction.set_rollback(True)
    assert statuses() == [Status.SUCCEEDED]


def test_eager__job_submits_another(eager: None) -> None:
    services.submit(nest, input={"depth": 2})
    assert statuses() == [Status.SUCCEEDED] * 3


def test_eager__delayed_job_stays_pending(eager: None) -> None:
    services.submit(echo, available_at=timezone.now() + timedelta(hours=1))
    assert statuses() == [Status.PENDING]


class InTestCase(TestCase):
    def test_run_operations__in_the_transaction_of_a_test(self) -> None:
        with transaction.atomic():
            services.submit(echo)
        services.submit(refuse)
        endings = [report.ending for report in run_operations()]
        assert endings == [Ending.SUCCEEDED, Ending.FAILED]

    def test_run_operations__job_submits_another(self) -> None:
        services.submit(nest, input={"depth": 3}, owner="7")
        assert len(run_operations()) == 4
        assert statuses() == [Status.SUCCEEDED] * 4
        assert Operation.objects.filter(owner="7").count() == 4

    def test_run_operations__delayed_job_stays_pending(self) -> None:
        services.submit(echo, available_at=timezone.now() + timedelta(hours=1))
        assert run_operations() == []


class InTransactionTestCase(TransactionTestCase):
    def test_run_operations__after_commits(self) -> None:
        services.submit(echo)
        services.submit(break_down)
        endings = [report.ending for report in run_operations()]
        assert endings == [Ending.SUCCEEDED, Ending.FAILED]

    def test_submit__rolled_back_stores_no_operation(self) -> None:
        with transaction.atomic():
            services.submit(echo)
            transaction.set_rollback(True)
        assert run_operations() == []
        assert Operation.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_command__submits(broker: list[str]) -> None:
    class Command(BaseCommand):
        def handle(self, *args: Any, **options: Any) -> str:
            return str(services.submit(echo, owner="7").pk)

    pk = call_command(Command())
    assert broker == [pk]
    assert [report.ending for report in run_operations()] == [Ending.SUCCEEDED]
