"""An operation whose attempt has died."""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from async_reply import lifecycle, services
from async_reply.models import Operation
from tests.project.tasks import echo


def lose(task: Any = echo) -> Operation:
    """A running operation whose lease has expired."""
    operation = services.submit(task)
    assert lifecycle.claim(operation, worker="w1")
    Operation.objects.filter(pk=operation.pk).update(
        lease_expires_at=timezone.now() - timedelta(seconds=1)
    )
    return operation
