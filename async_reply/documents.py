"""What an operation looks like on the wire."""

from datetime import datetime
from typing import Any

from django.utils import timezone
from rest_framework.fields import DateTimeField
from rest_framework.request import Request
from rest_framework.reverse import reverse

from async_reply import conf, estimates, problems, services
from async_reply.models import Operation
from async_reply.status import FINAL, Status

Document = dict[str, Any]

_format = DateTimeField().to_representation


def url(name: str, operation: Operation, request: Request) -> str:
    """The absolute URL of one of the operation's resources, below whatever prefix it is mounted."""
    view_name = f"{conf.get('URL_NAMESPACE')}:{name}"
    made: str = reverse(view_name, kwargs={"id": str(operation.pk)}, request=request)
    return made


def links(operation: Operation, request: Request) -> dict[str, str]:
    """Relation -> absolute URL; without `cancel` where the kind cannot be canceled."""
    found = {
        "self": url("status", operation, request),
        "monitor": url("monitor", operation, request),
        "result": url("result", operation, request),
    }
    if services.is_cancelable(operation):
        found["cancel"] = url("cancel", operation, request)
    return found


def receipt(operation: Operation, request: Request) -> Document:
    """The body of the 202: what never changes, so that each replay gets the same."""
    return {
        "id": str(operation.pk),
        "kind": operation.kind,
        "status": Status.PENDING.value,
        "created_at": _time(operation.created_at),
        "links": links(operation, request),
    }


def document(operation: Operation, request: Request) -> Document:
    """The operation as it is now; times in ISO 8601, progress in percent, estimates in seconds."""
    remaining = eta(operation)
    found = links(operation, request)
    made = {
        "id": str(operation.pk),
        "kind": operation.kind,
        "status": str(operation.status),
        "created_at": _time(operation.created_at),
        "started_at": _time(operation.started_at),
        "updated_at": _time(operation.updated_at),
        "finished_at": _time(operation.finished_at),
        "expires_at": _time(operation.expires_at),
        "progress": operation.progress,
        "message": operation.message,
        "eta_seconds": None if remaining is None else round(remaining, 1),
        "attempt": operation.attempt,
        "links": found,
    }
    if operation.status == Status.SUCCEEDED:
        made["resourceLocation"] = found["result"]
    elif operation.status in FINAL:
        made["error"] = problems.in_order(operation.error or {})
    return made


def eta(operation: Operation) -> float | None:
    """Seconds until the end, None while nothing is known or when it is over.

    The progress is as old as `updated_at`: the time since then has passed already.
    """
    if operation.started_at is None or operation.status != Status.RUNNING:
        return None
    told_after = (operation.updated_at - operation.started_at).total_seconds()
    remaining = estimates.eta(told_after, operation.progress)
    return None if remaining is None else max(0.0, remaining - _since(operation.updated_at))


def retry_after(operation: Operation) -> int:
    """Whole seconds until the client should come back."""
    return estimates.retry_after(_since(operation.created_at), eta=eta(operation))


def _since(moment: datetime) -> float:
    return max(0.0, (timezone.now() - moment).total_seconds())


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else _format(moment)
