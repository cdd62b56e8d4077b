"""Makes the JSON documents of operations: the receipt of a 202, and the document of all others."""

import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from django.http import HttpRequest
from django.urls import NoReverseMatch
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.settings import api_settings

from async_reply import conf
from async_reply.database.clock import seconds_until
from async_reply.estimates.forecasts import Forecast
from async_reply.exceptions import NotAsked
from async_reply.models import Operation, OperationStep
from async_reply.protocol import links as operation_links
from async_reply.protocol import problems, schemas, valet_keys
from async_reply.services import answers, cancellation
from async_reply.status import FINAL, Status

Document = dict[str, Any]
#: Relation -> name of the URL.
LINKS = {
    "self": "status",
    "monitor": "monitor",
    "result": "result",
    "events": "events",
    "log": "log",
}


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
    key = _valet_key(operation, held, may_cancel=may_cancel)
    targets = _links(operation, request, key=key, forecast=forecast)
    if operation.status in FINAL or not may_cancel:
        targets.pop("cancel", None)
    return targets | _input_link(operation, request, key=key)


def _input_link(operation: Operation, request: Request, *, key: tuple[str, str]) -> dict[str, str]:
    """The link of the question that is open. Where a valet key decides, one that may cancel."""
    question, (token, scope) = asked(operation), key
    if question is None:
        return {}
    is_allowed = valet_keys.includes(scope, "cancel")
    if token and not is_allowed and not operation.owner:
        return {}
    own_key = _input_key(question) if token and is_allowed else ""
    try:
        url = operation_links.make_input(question.name, operation.pk, request, key=own_key)
    except NoReverseMatch:  # a check has told the project
        return {}
    return {"input": url}


def _input_key(question: OperationStep) -> str:
    """A key for this question alone, which is good until its time is over, and never renewed."""
    scope = valet_keys.input_scope(question.attempt)
    seconds = 0.0 if question.until is None else seconds_until(question.until)
    return valet_keys.make(question.operation_id, scope=scope, seconds=seconds)


def asked(operation: Operation) -> OperationStep | None:
    """The question that is open, read once for each version of the row."""
    known: Any = vars(operation).get("_asked")
    if known is None or known[0] != operation.version:
        known = vars(operation)["_asked"] = operation.version, answers.open_question(operation)
    question: OperationStep | None = known[1]
    return question


def describe_question(operation: Operation, question: OperationStep, link: str | None) -> Document:
    """The question to a client: its name, the schema of an answer, and the time to answer."""
    serializer = answers.serializer_class(operation, question.name)
    return {
        "name": question.name,
        "schema": {} if serializer is None else schemas.of(serializer()),
        "since": _utc(question.since),
        "until": _utc(question.until),
        "link": link,
    }


def input_link_at(
    operation: Operation, base_url: str, name: str, *, version: str | None = None
) -> str:
    """The URL of the open question `name`, for an e-mail: whoever has it may answer.

    Its key opens the page of that question and nothing else, until the time for the answer is over.
    `base_url` and `version` as for `links_at`. Raises NotAsked if the job does not ask this now.
    """
    question = asked(operation)
    if question is None or question.name != name:
        raise NotAsked(f"The operation does not ask {name!r} now.")
    request = request_to(base_url, version=version)
    return operation_links.make_input(name, operation.pk, request, key=_input_key(question))


def _links(
    operation: Operation,
    request: Request,
    *,
    key: tuple[str, str],
    forecast: Forecast | None,
) -> dict[str, str]:
    """The links of the operation when it was new. `key` is a valet key and its scope."""
    forecast = forecast or Forecast(operation)
    token, scope = key
    names = {**LINKS, "cancel": "cancel"}
    try:
        urls = operation_links.make([*names.values()], operation.pk, request, key=token)
    except NoReverseMatch:  # the project mounts the views by itself, and none for the log
        del names["log"]
        urls = operation_links.make([*names.values()], operation.pk, request, key=token)
    targets = dict(zip(names, urls, strict=True))
    key_cancels = valet_keys.includes(scope, "cancel")
    if not cancellation.allows_cancel(forecast.kind):
        del targets["cancel"]
    elif token and not key_cancels:
        del targets["cancel"]
        if operation.owner:
            (targets["cancel"],) = operation_links.make(["cancel"], operation.pk, request)
    return targets


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
    seconds = _key_seconds(operation)
    if held is not None:
        scope = valet_keys.scope(held)
        if operation.status in FINAL and valet_keys.expiry(held) <= time.time() + seconds:
            return held, scope
    return valet_keys.make(operation.pk, scope=scope, seconds=seconds), scope


def _key_seconds(operation: Operation, seconds: float | None = None) -> float:
    """How long a new key is good: never for longer than the operation is kept."""
    longest: float = conf.get("VALET_KEY") if seconds is None else seconds
    if operation.expires_at is None:
        return longest
    return min(longest, seconds_until(operation.expires_at))


class _RequestTo(HttpRequest):
    """Stands for a request to `base_url` where there is none."""

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self._base_url = base_url.rstrip("/")

    def build_absolute_uri(self, location: str | None = None) -> str:
        return f"{self._base_url}{location or '/'}"


def request_to(base_url: str, *, version: str | None = None) -> Request:
    """A request that stands for one to `base_url`, for links. Raises ValueError as `links_at`."""
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise ValueError(f'{base_url!r} is no URL to build on: write "https://example.org".')
    request = Request(_RequestTo(base_url))
    scheme: Any = api_settings.DEFAULT_VERSIONING_CLASS
    # A view may have a version by a scheme of its own. The views of operations have none then.
    if version is not None and scheme is not None:
        request.version, request.versioning_scheme = version, scheme()
    return request


def links_at(
    operation: Operation,
    base_url: str,
    *,
    version: str | None = None,
    scope: valet_keys.Scope | None = None,
    seconds: float | None = None,
) -> dict[str, str]:
    """Relation -> absolute URL, without a request: for e-mails, jobs and commands.

    `base_url` is scheme and host, and the prefix of a site that has one. `version` is that of REST
    framework's versioning, where the project's URLs have one. With a `scope` the URLs carry a valet
    key that is good for `seconds`, by default as `VALET_KEY` says, and never for longer than the
    operation is kept. Without it they have one if the submitting view signs its links.

    Raises ValueError for a `base_url` that is no absolute http or https URL.
    """
    request = request_to(base_url, version=version)
    if scope is None:
        return links(operation, request)
    seconds = _key_seconds(operation, seconds)
    token = valet_keys.make(operation.pk, scope=scope, seconds=seconds)
    targets = _links(operation, request, key=(token, scope), forecast=None)
    if operation.status in FINAL:
        targets.pop("cancel", None)
    return targets


def receipt(
    operation: Operation, request: Request, *, forecast: Forecast | None = None
) -> Document:
    """The body of the 202: only members that never change, so that each replay is the same."""
    return {
        "id": str(operation.pk),
        "kind": operation.kind,
        "status": Status.PENDING.value,
        "created_at": _utc(operation.created_at),
        "links": _links(
            operation,
            request,
            key=_valet_key(operation, None, may_cancel=True),
            forecast=forecast,
        ),
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
    question = asked(operation)
    if question is not None:
        members["input_required"] = describe_question(operation, question, links.get("input"))
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
