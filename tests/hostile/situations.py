"""Makes an operation in each situation, and reads all rows of all operations."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import models
from django.utils import timezone

from async_reply import lifecycle, services
from async_reply.models import (
    Operation,
    OperationAttempt,
    OperationFile,
    OperationResult,
)
from async_reply.status import Status
from async_reply.testing import run_operations
from tests.project import tasks

Submit = Callable[[str], Operation]


def pending(owner: str, task: Any = tasks.echo) -> Operation:
    return services.submit(task, owner=owner)


def running(owner: str) -> Operation:
    operation = pending(owner)
    assert lifecycle.claim(operation, worker="w1")
    return operation


def canceling(owner: str) -> Operation:
    operation = running(owner)
    assert services.cancel(operation) == Status.CANCELING
    return operation


def canceled(owner: str) -> Operation:
    operation = pending(owner)
    assert services.cancel(operation) == Status.CANCELED
    return operation


def finished(owner: str, task: Any = tasks.echo) -> Operation:
    operation = pending(owner, task)
    run_operations()
    operation.refresh_from_db()
    return operation


def expired(owner: str) -> Operation:
    operation = finished(owner)
    past = timezone.now() - timedelta(seconds=1)
    Operation.objects.filter(pk=operation.pk).update(expires_at=past)
    return operation


def deleted(owner: str) -> Operation:
    operation = finished(owner)
    services.delete(operation)
    return operation


SITUATIONS: dict[str, Submit] = {
    "pending": pending,
    "running": running,
    "canceling": canceling,
    "canceled": canceled,
    "value": finished,
    "file": lambda owner: finished(owner, tasks.export),
    "created": lambda owner: finished(owner, tasks.create),
    "failed": lambda owner: finished(owner, tasks.refuse),
    "expired": expired,
    "deleted": deleted,
}


def everything() -> dict[str, list[dict[str, Any]]]:
    """All rows of our tables, to compare before and after a request that must change nothing."""
    tables: list[type[models.Model]] = [
        Operation,
        OperationResult,
        OperationFile,
        OperationAttempt,
    ]
    return {
        table.__name__: list(table._default_manager.order_by("pk").values()) for table in tables
    }
