"""One row that somebody has locked keeps nobody else from renewing a lease or being rescued."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import OperationalError, connection, transaction

from async_reply import lifecycle, services
from async_reply.attempts import rescue
from async_reply.attempts.claims import Claim, beat
from async_reply.database.clock import after
from async_reply.models import Operation
from async_reply.status import Status
from tests.concurrency import in_thread
from tests.project.tasks import echo

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor == "sqlite", reason="it locks no rows"),
]


def made() -> Operation:
    operation = services.submit(echo)
    assert lifecycle.claim(operation, worker="w1")
    return operation


@contextmanager
def locked(operation: Operation) -> Iterator[None]:
    """As a long callback of `on_finish` does, or a job that selects its operation for update."""
    with transaction.atomic():
        Operation.objects.select_for_update().get(pk=operation.pk)
        yield


def test_beat__of_the_others_does_not_wait() -> None:
    operations = [made() for _ in range(3)]
    claims = [Claim(operation, inline=False) for operation in operations]
    Operation.objects.update(lease_expires_at=after(5))
    before = dict(Operation.objects.values_list("pk", "lease_expires_at"))
    for claim in claims:
        claim._renew_at = time.monotonic()
    with (
        locked(operations[0]),
        in_thread(lambda: beat(claims)) as beaten,
        pytest.raises(OperationalError),
    ):
        beaten.result(30)
    renewed = dict(Operation.objects.values_list("pk", "lease_expires_at"))
    assert [renewed[each.pk] > before[each.pk] for each in operations] == [False, True, True]


def test_rescue__of_the_others_does_not_wait() -> None:
    operations = [made() for _ in range(3)]
    Operation.objects.update(lease_expires_at=after(-1))
    with locked(operations[0]), in_thread(rescue.rescue) as rescued:
        assert rescued.result(30) == 2
    statuses = [Operation.objects.get(pk=each.pk).status for each in operations]
    assert statuses == [Status.RUNNING, Status.PENDING, Status.PENDING]
    assert rescue.rescue() == 1
