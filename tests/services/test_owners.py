from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from pytest_django import Settings
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from async_reply import lifecycle, services
from async_reply.models import Operation, OperationResult
from async_reply.services import owners, retention
from async_reply.status import Status
from async_reply.testing import run_operations
from tests.concurrency import in_thread, until_parked
from tests.project.tasks import echo, persist

pytestmark = pytest.mark.django_db


@pytest.fixture
def theirs(user: Any) -> dict[str, Operation]:
    """A finished, a running and a pending operation of `user`."""
    owner = str(user.pk)
    finished = services.submit(echo, owner=owner)
    run_operations()
    running = services.submit(echo, owner=owner)
    assert lifecycle.claim(running, worker="w1")
    return {
        "finished": finished,
        "running": running,
        "pending": services.submit(echo, owner=owner),
    }


def status_of(operation: Operation) -> str:
    operation.refresh_from_db()
    return operation.status


def test_deleted_user__keeps_operations_by_default(theirs: Any, user: User) -> None:
    user.delete()
    assert [status_of(operation) for operation in theirs.values()] == [
        Status.SUCCEEDED,
        Status.RUNNING,
        Status.PENDING,
    ]


def test_deleted_user__takes_operations_along(
    theirs: Any, user: User, stranger: User, settings: Settings
) -> None:
    settings.ASYNC_REPLY = {"USER_DELETED": "remove"}
    other = services.submit(echo, owner=str(stranger.pk))
    Group.objects.create(name="not a user").delete()
    user.delete()
    assert [status_of(operation) for operation in theirs.values()] == [
        Status.SUCCEEDED,
        Status.CANCELING,
        Status.CANCELED,
    ]
    assert status_of(other) == Status.PENDING
    assert lifecycle.end_canceled(theirs["running"])
    assert retention.purge() == 3
    assert OperationResult.objects.count() == 0
    assert set(Operation.objects.filter(deleted_at=None)) == {other}


def test_remove__empty_owner_is_refused() -> None:
    with pytest.raises(ValueError, match="name an owner"):
        owners.remove("")


def pending() -> Operation:
    return services.submit(echo, owner="7")


def running(task: Any = echo) -> Operation:
    operation = services.submit(task, owner="7")
    assert lifecycle.claim(operation, worker="w1")
    return operation


def canceling() -> Operation:
    operation = running()
    assert lifecycle.cancel(operation)
    return operation


def uncancelable() -> Operation:
    return running(persist)


def succeeded() -> Operation:
    operation = pending()
    run_operations()
    return operation


@pytest.mark.parametrize("make", [pending, running, canceling, uncancelable, succeeded])
def test_remove__each_operation_gets_a_new_version(make: Callable[[], Operation]) -> None:
    before = Operation.objects.get(pk=make().pk)
    owners.remove("7")
    row = Operation.objects.get()
    assert row.version > before.version
    assert row.updated_at > before.updated_at
    assert row.is_gone


def test_remove__uncancelable_operation_is_purged_when_it_has_finished() -> None:
    operation = uncancelable()
    owners.remove("7")
    assert status_of(operation) == Status.RUNNING
    assert retention.purge() == 0
    assert lifecycle.succeed(operation)
    assert retention.purge() == 1


def test_remove__operation_that_finishes_meanwhile_expires(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    operation = running()

    def finish(_operation: Operation) -> bool:
        assert lifecycle.succeed(operation)
        return False

    monkeypatch.setattr(lifecycle, "expire", finish)
    owners.remove("7")
    assert status_of(operation) == Status.SUCCEEDED
    assert retention.purge() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("ticker")
def test_remove__waiting_client_is_told_that_the_operation_has_expired(user: Any) -> None:
    fields = {"Authorization": f"Token {Token.objects.create(user=user)}", "Prefer": "wait=50"}
    api = APIClient(headers=fields, **{"wsgi.multithread": True})
    operation = services.submit(persist, owner=str(user.pk))
    assert lifecycle.claim(operation, worker="w1")
    with in_thread(lambda: api.get(f"/api/operations/{operation.pk}/")) as answer:
        until_parked()
        owners.remove(str(user.pk))
        assert answer.result(10).status_code == 410
