"""What an operation looks like on the wire."""

import time
from datetime import UTC, datetime
from typing import Any

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.reverse import reverse
from rest_framework.utils.urls import replace_query_param

from async_reply import conf
from async_reply.database.clock import seconds_until
from async_reply.estimates import forecasts
from async_reply.models import Operation
from async_reply.protocol import problems, valet_keys
from async_reply.services import cancellation
from async_reply.status import FINAL, Status

Document = dict[str, Any]
#: Relation -> name of the URL.
LINKS = {"self": "status", "monitor": "monitor", "result": "result", "events": "events"}


def links(
    operation: Operation, request: Request, *, held: str | None = None, may_cancel: bool = True
) -> dict[str, str]:
    """Relation -> absolute URL, below whatever prefix the app is mounted.

    They carry a valet key where the submitting view said so. `cancel` is missing where there is
    nothing left to cancel, where the kind cannot be canceled, and where the key does not allow it
    and there is no owner who could. `held` is the good key that the request itself came with, if
    any, and `may_cancel` what the caller's permissions say: the links allow no more than that.
    """
    found = _links(operation, request, held=held, may_cancel=may_cancel)
    if operation.status in FINAL or not may_cancel:
        found.pop("cancel", None)
    return found


def _links(
    operation: Operation, request: Request, *, held: str | None = None, may_cancel: bool = True
) -> dict[str, str]:
    """The same as when the operation was new."""
    key, scope = _valet_key(operation, held, may_cancel=may_cancel)
    found = {relation: _url(name, operation, request, key=key) for relation, name in LINKS.items()}
    cancels = valet_keys.includes(scope, "cancel")
    if cancellation.is_cancelable(operation) and (not key or cancels or operation.owner):
        found["cancel"] = _url("cancel", operation, request, key=key if cancels else "")
    return found


def _url(name: str, operation: Operation, request: Request, *, key: str) -> str:
    view_name = f"{conf.get('URL_NAMESPACE')}:{name}"
    made: str = reverse(view_name, kwargs={"id": str(operation.pk)}, request=request)
    return replace_query_param(made, "sig", key) if key else made


def _valet_key(operation: Operation, held: str | None, *, may_cancel: bool) -> tuple[str, str]:
    """A key and its scope; both empty where links are not signed.

    A fresh key, so that polling outlasts any job. Once that is over, who holds a key keeps it: a
    link that has leaked would else renew itself for as long as the result is there.
    """
    scope = operation.reply.get("valet_key")
    if scope is None:
        return "", ""
    if not may_cancel:
        scope = "read"
    seconds = conf.get("VALET_KEY")
    if operation.expires_at is not None:
        seconds = min(seconds, seconds_until(operation.expires_at))
    if held is not None:
        scope = valet_keys.scope(held)
        if operation.status in FINAL and valet_keys.expiry(held) <= time.time() + seconds:
            return held, scope
    return valet_keys.make(operation.pk, scope=scope, seconds=seconds), scope


def receipt(operation: Operation, request: Request) -> Document:
    """The body of the 202: what never changes, so that each replay gets the same."""
    return {
        "id": str(operation.pk),
        "kind": operation.kind,
        "status": Status.PENDING.value,
        "created_at": _time(operation.created_at),
        "links": _links(operation, request),
    }


def document(operation: Operation, request: Request, *, may_cancel: bool = True) -> Document:
    """The operation as it is now; times in ISO 8601, progress in percent, estimates in seconds."""
    return describe(operation, links(operation, request, may_cancel=may_cancel))


def describe(operation: Operation, found: dict[str, str]) -> Document:
    """The document of an operation whose links are known; needs no request."""
    remaining = forecasts.eta(operation)
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
        "eta_seconds": None if remaining is None else round(remaining, 2),
        "attempt": operation.attempt,
        "links": found,
    }
    position = forecasts.queue_position(operation)
    if position is not None:
        made["queue_position"] = position
    if operation.status == Status.SUCCEEDED:
        made["resourceLocation"] = found["result"]
    elif operation.status in FINAL:
        made["error"] = problems.in_order(operation.error or {})
    return made


def _time(moment: datetime | None) -> str | None:
    """In UTC, whatever format and time zone project and request have: a receipt repeats itself."""
    if moment is None:
        return None
    if timezone.is_naive(moment):
        moment = timezone.make_aware(moment, timezone.get_default_timezone())
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
