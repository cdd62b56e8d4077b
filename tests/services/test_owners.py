from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from pytest_django import Settings

from async_reply import lifecycle, services
from async_reply.models import Operation, OperationResult
from async_reply.services import owners, retention
from async_reply.status import Status
from async_reply.testing import run_operations
from tests.project.tasks import echo

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


def test_remove__of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="name an owner"):
        owners.remove("")
