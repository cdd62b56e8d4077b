"""Stores the deliveries of a new operation, in the transaction that inserts the operation.

Its owner's endpoints get one each, and so does the callback of its request.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.http import QueryDict
from django.urls import get_script_prefix
from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from async_reply import conf
from async_reply.contrib.webhooks import addresses, events
from async_reply.contrib.webhooks.models import CallbackSecret, Delivery, Endpoint
from async_reply.models import Operation
from async_reply.views import callbacks

#: The attribute of a new operation that holds the callback of its request.
ATTRIBUTE = "async_reply_callback"
#: The key of `Operation.reply` that says that there are deliveries. An operation without it pays
#: nothing when it starts and ends.
MARK = "webhooks"
#: The owner of endpoints whose owner was removed.
NOBODY = ""
#: Endpoints that one owner may have.
MAX_ENDPOINTS = 20


@dataclass(frozen=True)
class Callback:
    """The callback of a request, as its body names it."""

    url: str
    events: list[str]
    base_url: str
    api_version: str | None
    whole: bool


def read_callback(request: Request, operation: Operation, *, whole: bool) -> None:
    """Check the callback of a request, and remember it for the operation that is submitted next.

    Raises ValidationError. The name in the URL is looked up when something is sent: a client must
    not make this process wait for a name server.
    """
    data: Any = request.data
    if not hasattr(data, "get") or data.get(callbacks.URL) in (None, ""):
        return
    errors: dict[str, Any] = {}
    url: Any = data.get(callbacks.URL)
    try:
        addresses.check_url(url if isinstance(url, str) else "")
    except addresses.Refused as refusal:
        errors[callbacks.URL] = [str(refusal)]
    is_form = isinstance(data, QueryDict)
    names: Any = data.getlist(callbacks.EVENTS) if is_form else data.get(callbacks.EVENTS)
    try:
        names = check_events(names or events.default())
    except ValidationError as error:
        errors[callbacks.EVENTS] = error.detail
    if not errors and not is_signed(operation.owner):
        errors[callbacks.URL] = [_("Make a secret first: nothing would sign the messages.")]
    if errors:
        raise ValidationError(errors)
    base_url, version = base(request)
    setattr(operation, ATTRIBUTE, Callback(url, names, base_url, version, whole))


def check_events(names: Any) -> list[str]:
    """The events of a filter, in their own order. Raises ValidationError."""
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not is_list or not names or set(names) - set(events.ALL):
        raise ValidationError([_("Use a list of these: %s.") % ", ".join(events.ALL)])
    return [name for name in events.ALL if name in names]


def is_signed(owner: str) -> bool:
    """Whether something signs messages to the callbacks of this owner: its secret, or our key."""
    if not owner:
        return False
    return bool(conf.get("WEBHOOK_KEYS")) or CallbackSecret.objects.filter(owner=owner).exists()


def base(request: Request) -> tuple[str, str | None]:
    """The start of the links in messages, and the version of the API, as the request has them.

    Raises ValidationError for texts that no column can hold.
    """
    prefix = get_script_prefix().rstrip("/") or "/"
    base_url, version = request.build_absolute_uri(prefix).rstrip("/"), request.version
    for name, text in (("base_url", base_url), ("api_version", version)):
        column: Any = Delivery._meta.get_field(name)
        if len(text or "") > column.max_length:
            raise ValidationError(_("The host or the version of this request is too long."))
    return base_url, version


def add_deliveries(operation: Operation) -> None:
    """Insert the operation's deliveries. One statement looks for endpoints of its owner."""
    rows: list[Delivery] = []
    if operation.owner:
        endpoints = Endpoint.objects.filter(owner=operation.owner, state=Endpoint.State.ENABLED)
        rows += [of_endpoint(endpoint, operation) for endpoint in endpoints[:MAX_ENDPOINTS]]
    callback: Callback | None = getattr(operation, ATTRIBUTE, None)
    if callback is not None:
        rows.append(_of_callback(callback, operation))
    elif operation.rerun_of_id is not None and operation.reply.get(MARK):
        rows += _copies(operation)
    reply = {key: value for key, value in operation.reply.items() if key != MARK}
    if rows:
        Delivery.objects.bulk_create(rows)
        reply[MARK] = len(rows)
    operation.reply = reply


def disown(owner: str) -> None:
    """Take the endpoints and the ledger from an owner that is removed.

    The endpoints hear of the end of its operations, and nothing of a later owner of the same name,
    who does not read the ledger. An open callback is left: the secret of its owner signs it.
    """
    Endpoint.objects.filter(owner=owner).update(owner=NOBODY)
    ledger = Delivery.objects.filter(owner=owner)
    ledger.exclude(state=Delivery.State.OPEN, endpoint=None).update(owner=NOBODY)


def of_endpoint(endpoint: Endpoint, operation: Operation) -> Delivery:
    return Delivery(
        endpoint=endpoint.pk,
        host=host(endpoint.url),
        base_url=conf.get("WEBHOOK_URL") or endpoint.base_url,
        api_version=endpoint.api_version,
        whole=endpoint.whole,
        **_of_operation(operation),
        **filter_columns(endpoint.events),
    )


def _of_callback(callback: Callback, operation: Operation) -> Delivery:
    return Delivery(
        url=callback.url,
        host=host(callback.url),
        base_url=conf.get("WEBHOOK_URL") or callback.base_url,
        api_version=callback.api_version,
        whole=callback.whole,
        **_of_operation(operation),
        **filter_columns(callback.events),
    )


def _copies(operation: Operation) -> list[Delivery]:
    """The callback of an operation that is rerun hears of the new operation, too."""
    columns = (
        *("url", "host", "base_url", "api_version", "whole"),
        *("wants_started", "wants_input", "wants_expired", "outcomes"),
    )
    earlier = Delivery.objects.filter(operation=operation.rerun_of_id, endpoint=None)
    return [
        Delivery(**{name: getattr(row, name) for name in columns}, **_of_operation(operation))
        for row in earlier[:1]
    ]


def _of_operation(operation: Operation) -> dict[str, Any]:
    return {"operation": operation.pk, "kind": operation.kind, "owner": operation.owner}


def filter_columns(names: Collection[str]) -> dict[str, Any]:
    """The columns of a delivery that hold its filter."""
    return {
        "wants_started": events.STARTED in names,
        "wants_input": events.INPUT_REQUIRED in names,
        "wants_expired": events.EXPIRED in names,
        "outcomes": [name for name in events.OUTCOMES.values() if name in names],
    }


def host(url: str) -> str:
    """Host and port: one message at a time goes to each.

    The URL of an endpoint may be one that the settings no longer allow. Its deliveries say so.
    """
    return urlsplit(url).netloc.lower()[:255]
