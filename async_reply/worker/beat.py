"""Defines the task that a schedule of celery beat names to submit an operation."""

from typing import Any

from celery import shared_task


@shared_task(name="async_reply.submit", ignore_result=True)
def submit(kind: str, input: dict[str, Any] | None = None, owner: str = "") -> None:
    """Submit an operation of `kind`. A kind that no module registers raises UnknownKind."""
    # Imported here, since `django.setup()` imports this module.
    from async_reply import services
    from async_reply.tasks import get_task

    services.submit(get_task(kind), input=input, owner=owner)
