"""Names the events, finds the one that is due for a delivery, and writes its message."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.utils import timezone

from async_reply.database import errors
from async_reply.logs import logger
from async_reply.status import FINAL, Status

if TYPE_CHECKING:
    from async_reply.contrib.webhooks.models import Delivery
    from async_reply.models import Operation

STARTED, EXPIRED, TEST = "operation.started", "operation.expired", "webhook.test"
INPUT_REQUIRED = "operation.input_required"
#: Status -> the event of this outcome.
OUTCOMES = {str(status): f"operation.{status}" for status in sorted(FINAL)}
#: Event -> the status that it tells of. An operation may have gone on since an attempt began.
STATUSES = {STARTED: str(Status.RUNNING)} | {name: status for status, name in OUTCOMES.items()}
#: `Operation.pause` while its job asks.
QUESTION = "question"
#: All events that a filter may name.
ALL = (STARTED, INPUT_REQUIRED, *OUTCOMES.values(), EXPIRED)


def default() -> list[str]:
    """The events of a receiver that names none: the outcomes."""
    return list(OUTCOMES.values())


def message_id(operation: UUID, event: str, number: int) -> str:
    """`<operation>.<event>`, and the attempt's number for an event that may come again.

    The specification wants no dot that a client chooses (section "Signature scheme"): no part of
    this id comes from a client.
    """
    name = event.rpartition(".")[2]
    return f"{operation}.{name}.{number}" if number else f"{operation}.{name}"


def find(delivery: "Delivery", operation: "Operation | None") -> tuple[str, int] | None:
    """The event that the receiver is to hear now, and its number; None if there is none.

    An outcome takes the place of everything before it, and so does a question. An event at hand
    that was not told stays, unless it is a question that was answered.
    """
    at_hand = (delivery.event, delivery.number) if delivery.event else None
    if operation is not None and _asks(operation):
        question = INPUT_REQUIRED, operation.attempt
        if delivery.wants_input and at_hand != question:
            return question
    elif delivery.event == INPUT_REQUIRED:
        at_hand = None
    may_expire = delivery.wants_expired and delivery.event != EXPIRED
    if operation is None:
        if at_hand is not None and not delivery.is_told:
            return at_hand
        return (EXPIRED, 0) if may_expire else None
    outcome = OUTCOMES.get(operation.status)
    if outcome is not None and not delivery.has_outcome:
        if outcome in delivery.outcomes:
            return outcome, 0
        at_hand = None
    elif outcome is None and delivery.wants_started and operation.attempt > delivery.number:
        return STARTED, operation.attempt
    if at_hand is not None and not delivery.is_told:
        return at_hand
    is_over = outcome is not None and operation.is_gone
    return (EXPIRED, 0) if is_over and may_expire else None


def _asks(operation: "Operation") -> bool:
    return operation.status == Status.PENDING and operation.pause == QUESTION


def try_to_write(delivery: "Delivery", operation: "Operation | None", event: str) -> str:
    """The message of an event; '' if it cannot be written, for one receiver holds up no other.

    The project's URLs may have changed since the submit, and its serializers may raise anything.
    """
    try:
        return write(delivery, operation, event)
    except Exception as error:
        if errors.is_temporary(error):
            raise
        logger.exception("Webhook %s.%s cannot be written", delivery.operation, event)
        return ""


def write(delivery: "Delivery", operation: "Operation | None", event: str) -> str:
    """The message of an event, as JSON (Standard Webhooks 1.0.0, "Payload structure")."""
    data = _thin(delivery, operation, event)
    if delivery.whole:
        is_gone = operation is None or operation.is_gone
        data = {**data, "gone": True} if is_gone else _whole(delivery, operation, data)
    occurred_at = _moment(operation, event)
    message = {"type": event, "timestamp": _utc(occurred_at), "data": data}
    return json.dumps(message, separators=(",", ":"))


def write_test(endpoint: UUID) -> str:
    """The message of the test button."""
    data = {"endpoint": str(endpoint)}
    message = {"type": TEST, "timestamp": _utc(timezone.now()), "data": data}
    return json.dumps(message, separators=(",", ":"))


def _thin(delivery: "Delivery", operation: "Operation | None", event: str) -> dict[str, Any]:
    from async_reply import documents
    from async_reply.protocol import links

    data: dict[str, Any] = {"id": str(delivery.operation), "kind": delivery.kind}
    if event in STATUSES:
        data["status"] = STATUSES[event]
    elif operation is not None:
        data["status"] = str(operation.status)
    if delivery.base_url:
        request = documents.request_to(delivery.base_url, version=delivery.api_version)
        # Without a valet key: the message is for an owner, who has credentials.
        (data["resourceLocation"],) = links.make(["result"], delivery.operation, request)
    return data


def _whole(
    delivery: "Delivery", operation: "Operation | None", thin: dict[str, Any]
) -> dict[str, Any]:
    from async_reply import documents

    if operation is None or not delivery.base_url:
        return thin
    links = documents.links_at(operation, delivery.base_url, version=delivery.api_version)
    return documents.describe(operation, links)


def _moment(operation: "Operation | None", event: str) -> datetime:
    if operation is not None and event == STARTED:
        moment = operation.started_at
    elif operation is not None and event == INPUT_REQUIRED:
        moment = operation.updated_at
    elif operation is not None and event == EXPIRED:
        moment = operation.deleted_at or operation.expires_at
    else:
        moment = None if operation is None else operation.finished_at
    return moment or timezone.now()


def _utc(moment: datetime) -> str:
    if timezone.is_naive(moment):
        moment = timezone.make_aware(moment, timezone.get_default_timezone())
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
