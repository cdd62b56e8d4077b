"""A locked row delays neither the renewal of other leases nor the rescue of other operations."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import OperationalError, connection, transaction

from async_reply import lifecycle, services
from async_reply.attempts import outages, rescue
from async_reply.attempts.claims import BEAT_SECONDS, Claim, beat
from async_reply.attempts.heartbeats import Heart
from async_reply.database.clock import after
from async_reply.models import Operation
from async_reply.status import Status
from tests.concurrency import in_thread
from tests.project.tasks import echo

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor == "sqlite", reason="it locks no rows"),
]


def claimed_operation() -> Operation:
    operation = services.submit(echo)
    assert lifecycle.claim(operation, worker="w1")
    return operation


@contextmanager
def locked(operation: Operation) -> Iterator[None]:
    """Lock the row, as a long callback of `on_finish` does, or a job that selects it for update."""
    with transaction.atomic():
        Operation.objects.select_for_update().get(pk=operation.pk)
        yield


def test_beat__does_not_wait_for_a_locked_row() -> None:
    operations = [claimed_operation() for _ in range(3)]
    claims = [Claim(operation, inline=False) for operation in operations]
    Operation.objects.update(lease_expires_at=after(5))
    before = dict(Operation.objects.values_list("pk", "lease_expires_at"))
    for claim in claims:
        claim._renew_at = time.monotonic()
    with (
        locked(operations[0]),
        in_thread(lambda: beat(claims)) as future,
        pytest.raises(OperationalError),
    ):
        future.result(30)
    renewed = dict(Operation.objects.values_list("pk", "lease_expires_at"))
    was_renewed = [renewed[operation.pk] > before[operation.pk] for operation in operations]
    assert was_renewed == [False, True, True]


def test_heart__warns_of_a_row_that_stays_locked(caplog: pytest.LogCaptureFixture) -> None:
    """A row that is locked for an instant is none of the operator's business."""
    claim, heart = Claim(claimed_operation(), inline=False), Heart()
    claim.progress = (50, "half", 0, None)
    heart._claims.append(claim)
    with locked(claim.operation):
        for warnings in (0, 1, 1):
            with in_thread(heart._beat) as future:
                assert future.result(30) == outages.PAUSE_SECONDS
            texts = [record.message for record in caplog.records if record.levelname == "WARNING"]
            assert len(texts) == warnings
    assert heart._beat() == BEAT_SECONDS
    assert Operation.objects.get().message == "half"


def test_rescue__does_not_wait_for_a_locked_row() -> None:
    operations = [claimed_operation() for _ in range(3)]
    Operation.objects.update(lease_expires_at=after(-1))
    with locked(operations[0]), in_thread(rescue.rescue) as future:
        assert future.result(30) == 2
    statuses = [Operation.objects.get(pk=operation.pk).status for operation in operations]
    assert statuses == [Status.RUNNING, Status.PENDING, Status.PENDING]
    assert rescue.rescue() == 1
