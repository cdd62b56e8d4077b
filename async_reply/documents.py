"""Makes the JSON documents of operations: the receipt of a 202, and the document of all others."""

import time
from datetime import UTC, datetime
from typing import Any

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.reverse import reverse
from rest_framework.utils.urls import replace_query_param

from async_reply import conf
from async_reply.database.clock import seconds_until
from async_reply.estimates.forecasts import Forecast
from async_reply.models import Operation
from async_reply.protocol import problems, valet_keys
from async_reply.services import cancellation
from async_reply.status import FINAL, Status

Document = dict[str, Any]
#: Relation -> name of the URL.
LINKS = {"self": "status", "monitor": "monitor", "result": "result", "events": "events"}


def links(
    operation: Operation,
    request: Request,
    *,
    held: str | None = None,
    may_cancel: bool = True,
    forecast: Forecast | None = None,
) -> dict[str, str]:
    """Relation -> absolute URL, under the prefix at which the project included our URLs.

    The URLs carry a valet key if the submitting view signs its links. `cancel` is missing when
    the operation has finished, when its kind cannot be canceled, and when the key does not allow
    a cancel and the operation has no owner who could. `held` is the valid key of the request
    itself. `may_cancel` says whether the caller has permission to cancel. The links never allow
    more than these two do.
    """
    targets = _links(operation, request, held=held, may_cancel=may_cancel, forecast=forecast)
    if operation.status in FINAL or not may_cancel:
        targets.pop("cancel", None)
    return targets


def _links(
    operation: Operation,
    request: Request,
    *,
    held: str | None = None,
    may_cancel: bool = True,
    forecast: Forecast | None,
) -> dict[str, str]:
    """The links of the operation when it was new."""
    forecast = forecast or Forecast(operation)
    key, scope = _valet_key(operation, held, may_cancel=may_cancel)
    targets = {
        relation: _url(name, operation, request, key=key) for relation, name in LINKS.items()
    }
    key_cancels = valet_keys.includes(scope, "cancel")
    if cancellation.allows_cancel(forecast.kind) and (not key or key_cancels or operation.owner):
        targets["cancel"] = _url("cancel", operation, request, key=key if key_cancels else "")
    return targets


def _url(name: str, operation: Operation, request: Request, *, key: str) -> str:
    view_name = f"{conf.get('URL_NAMESPACE')}:{name}"
    url: str = reverse(view_name, kwargs={"id": str(operation.pk)}, request=request)
    return replace_query_param(url, "sig", key) if key else url


def _valet_key(operation: Operation, held: str | None, *, may_cancel: bool) -> tuple[str, str]:
    """A key and its scope; both are empty when the links are not signed.

    Each answer about an unfinished operation has a new key, so that a client can poll longer than
    one key lives. After the end a client keeps the key that it has. Otherwise a leaked link would
    renew itself for as long as the result is kept.
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


def receipt(
    operation: Operation, request: Request, *, forecast: Forecast | None = None
) -> Document:
    """The body of the 202: only members that never change, so that each replay is the same."""
    return {
        "id": str(operation.pk),
        "kind": operation.kind,
        "status": Status.PENDING.value,
        "created_at": _utc(operation.created_at),
        "links": _links(operation, request, forecast=forecast),
    }


def document(operation: Operation, request: Request, *, may_cancel: bool = True) -> Document:
    """The operation as it is now; times in ISO 8601, progress in percent, estimates in seconds."""
    forecast = Forecast(operation)
    targets = links(operation, request, may_cancel=may_cancel, forecast=forecast)
    return describe(operation, targets, forecast=forecast)


def describe(
    operation: Operation, links: dict[str, str], *, forecast: Forecast | None = None
) -> Document:
    """The document of an operation with these links; needs no request.

    `forecast` is the one that the answer's headers use too; by default a new one.
    """
    forecast = forecast or Forecast(operation)
    eta_seconds = forecast.eta_seconds
    members: Document = {
        "id": str(operation.pk),
        "kind": operation.kind,
        "status": str(operation.status),
        "created_at": _utc(operation.created_at),
        "started_at": _utc(operation.started_at),
        "updated_at": _utc(operation.updated_at),
        "finished_at": _utc(operation.finished_at),
        "expires_at": _utc(operation.expires_at),
        "progress": operation.progress,
        "message": operation.message,
        "eta_seconds": None if eta_seconds is None else round(eta_seconds, 2),
        "attempt": operation.attempt,
        "links": links,
    }
    if forecast.queue_position is not None:
        members["queue_position"] = forecast.queue_position
    if operation.status == Status.SUCCEEDED:
        members["resourceLocation"] = links["result"]
    elif operation.status in FINAL:
        members["error"] = problems.in_order(operation.error or {})
    return members


def _utc(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC, so that a repeated receipt is the same in any time zone and format."""
    if moment is None:
        return None
    if timezone.is_naive(moment):
        moment = timezone.make_aware(moment, timezone.get_default_timezone())
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
