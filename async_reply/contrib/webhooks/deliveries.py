"""Claims deliveries, posts their messages, and records the answers.

A claim is one UPDATE with a guard: the number of claims that was read. It sets a lease, so a
delivery whose process dies is due again when the lease is over, and is sent a second time.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.db.models import Case, F, Min, Q, QuerySet, Value, When

from async_reply import conf
from async_reply.contrib.webhooks import encryption, events, pauses, posts, signatures
from async_reply.contrib.webhooks.models import CallbackSecret, Delivery, DeliveryTry, Endpoint
from async_reply.database import alias
from async_reply.database.clock import DatabaseNow, after, microseconds
from async_reply.logs import logger
from async_reply.models import Operation

#: Seconds for which a delivery is claimed: a post, and some time for the database.
LEASE_SECONDS = 3 * posts.DEADLINE_SECONDS
#: Seconds for which the other messages wait for a receiver that gave no answer to one of them.
LONGEST_SPARE_SECONDS = 60.0
HTTP_GONE = 410
#: Deliveries of one host without anything to send that one look passes over.
MAX_RESTS = 100
UNWRITTEN = "Our server cannot write this message now."
#: Columns that the messages need of an operation.
UNREAD = ("input", "extra", "kept")


@dataclass(frozen=True)
class Message:
    """A claimed delivery with all that its post needs: no statement is made while it is sent."""

    delivery: Delivery
    # A query may hold a password of the receiver.
    url: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    #: When its claim began, by `time.monotonic()`.
    claimed_at: float
    #: Why nothing can be sent; '' otherwise.
    refusal: str = ""

    def post(self) -> posts.Answer:
        if self.refusal:
            return posts.Answer(None, self.refusal, "", 0.0)
        if time.monotonic() - self.claimed_at > LEASE_SECONDS - posts.DEADLINE_SECONDS:
            # This process was frozen. Another one may send a later event meanwhile.
            return posts.Answer(None, "Its lease was nearly over.", "", 0.0, is_postponed=True)
        return posts.post(self.url, self.delivery.body.encode(), self.headers)


def due() -> QuerySet[Delivery]:
    """Open deliveries that may be claimed now."""
    now = DatabaseNow()
    is_free = Q(lease_expires_at=None) | Q(lease_expires_at__lte=now)
    may_be_sent = Q(not_before=None) | Q(not_before__lte=now)
    return Delivery.objects.filter(is_free, may_be_sent, state=Delivery.State.OPEN, due_at__lte=now)


def claimable() -> QuerySet[Delivery]:
    """Due deliveries to hosts to which nobody is posting now."""
    return due().exclude(host__in=_posted_to())


def claim_due(most: int, *, busy_hosts: Collection[str] = ()) -> list[Message]:
    """Claim up to `most` due deliveries, one for each host that is not busy."""
    rows = claimable().exclude(host__in=busy_hosts).order_by()
    by_host = rows.values("host").annotate(oldest=Min("due_at")).order_by("oldest")
    hosts = list(by_host.values_list("host", flat=True)[:most])
    messages = [_claim_first(host) for host in hosts]
    return [message for message in messages if message is not None]


def _claim_first(host: str) -> Message | None:
    """Claim the oldest delivery to a host that has something to send."""
    for _ in range(MAX_RESTS):
        delivery = due().filter(host=host).order_by("due_at").first()
        message = None if delivery is None else claim(delivery)
        if delivery is None or message is not None:
            return message
    return None


def _posted_to() -> QuerySet[Any]:
    """The hosts to which some worker is posting now."""
    leased = Delivery.objects.filter(state=Delivery.State.OPEN, due_at__isnull=False)
    return leased.filter(lease_expires_at__gt=DatabaseNow()).values("host")


def claim(delivery: Delivery) -> Message | None:
    """Claim a delivery whose event is found now; None if there is nothing to send."""
    claimed_at = time.monotonic()
    operation = Operation.objects.filter(pk=delivery.operation).defer(*UNREAD).first()
    found = events.find(delivery, operation)
    if found is None:
        _rest(delivery, operation)
        return None
    is_new = found != (delivery.event, delivery.number) or delivery.is_told
    changes = _new_event(*found) if is_new else {}
    if is_new or delivery.whole or not delivery.body:
        # A whole document may have been deleted since it was written.
        changes["body"] = events.try_to_write(delivery, operation, found[0])
    lease = after(LEASE_SECONDS)
    changes |= {"claims": F("claims") + 1, "lease_expires_at": lease, "due_at": lease}
    guard = {"claims": delivery.claims, "state": Delivery.State.OPEN}
    if not due().filter(pk=delivery.pk, **guard).update(**changes):
        return None
    claimed = Delivery.objects.get(pk=delivery.pk)
    return _address(claimed, claimed_at) if claimed.claims == delivery.claims + 1 else None


def _new_event(event: str, number: int) -> dict[str, Any]:
    """The columns of an event that was found now: it gets a time of its own to be delivered."""
    return {
        "event": event,
        "number": number,
        "is_told": False,
        "has_outcome": event not in (events.STARTED, events.INPUT_REQUIRED),
        "tries": 0,
        "give_up_at": after(conf.get("WEBHOOK_RETRY")),
    }


def _rest(delivery: Delivery, operation: Operation | None) -> None:
    """Nothing is to be sent now. The delivery waits, or ends if nothing can follow."""
    is_final = operation is None or str(operation.status) in events.OUTCOMES
    changes: dict[str, Any] = {"due_at": None, "lease_expires_at": None}
    if is_final:
        changes["has_outcome"] = True
        if not delivery.has_outcome:
            # The filter has no such outcome. An event that was overtaken is left out.
            changes |= {"event": "", "number": 0, "body": "", "is_told": True}
        waits = delivery.wants_expired and operation is not None
        if not waits or delivery.event == events.EXPIRED:
            changes |= {"state": Delivery.State.DELIVERED, "ended_at": DatabaseNow()}
    Delivery.objects.filter(
        pk=delivery.pk, claims=delivery.claims, state=Delivery.State.OPEN
    ).update(**changes, claims=F("claims") + 1)


def _address(delivery: Delivery, claimed_at: float) -> Message | None:
    """The message with its URL and signatures, as receiver and secret are now."""
    url, signed, refusal = delivery.url, None, ""
    if delivery.endpoint is not None:
        endpoint = Endpoint.objects.filter(pk=delivery.endpoint).first()
        if endpoint is None or endpoint.state != Endpoint.State.ENABLED:
            close(delivery, "The endpoint was deleted." if endpoint is None else "It is disabled.")
            return None
        url, signed = endpoint.url, endpoint
    else:
        signed = CallbackSecret.objects.filter(owner=delivery.owner).first()
    if not delivery.body:
        return Message(delivery, url, {}, claimed_at, UNWRITTEN)
    keys = list(conf.get("WEBHOOK_KEYS"))
    try:
        keys = [*(signed.keys() if signed is not None else ()), *keys]
    except encryption.Undecryptable:
        refusal = "The secret cannot be read: make a new one."
    if not keys and not refusal:
        refusal = "Nothing signs this message: make a secret."
    if refusal:
        return Message(delivery, url, {}, claimed_at, refusal)
    headers = signatures.sign(keys, delivery.message_id, datetime.now(UTC), delivery.body)
    return Message(delivery, url, headers, claimed_at)


def record(message: Message, answer: posts.Answer) -> None:
    """Write the answer into the ledger, and decide how the delivery goes on."""
    delivery = message.delivery
    if answer.is_postponed and _seconds_left(delivery) > 0:
        # Nothing was tried, so it counts for nothing.
        _free(delivery, {"due_at": _unless_hinted(after(pauses.pause_seconds(0)))})
        return
    with transaction.atomic(using=alias()):
        _write_ledger(delivery, answer)
        if answer.is_success:
            _succeed(delivery)
        elif answer.status != HTTP_GONE or not _give_up_receiver(delivery, message.url):
            _try_later(delivery, answer, is_refused=bool(message.refusal))
    log = logger.info if answer.is_success else logger.warning
    log(
        "Webhook %s %s: status=%s %s",
        delivery.message_id,
        "delivered" if answer.is_success else "not delivered",
        answer.status,
        answer.error,
    )


def _write_ledger(delivery: Delivery, answer: posts.Answer) -> None:
    DeliveryTry.objects.create(
        delivery=delivery,
        message_id=delivery.message_id,
        seconds=round(answer.seconds, 3),
        status=answer.status,
        error=answer.error[:255],
        answer=answer.body,
    )


def _mine(delivery: Delivery) -> QuerySet[Delivery]:
    """The row, unless its lease was over and somebody else has claimed it."""
    return Delivery.objects.filter(
        pk=delivery.pk, claims=delivery.claims, state=Delivery.State.OPEN
    )


def _free(delivery: Delivery, changes: dict[str, Any]) -> bool:
    """Write `changes` and end the lease. MariaDB assigns in this order, and they read the lease."""
    return bool(_mine(delivery).update(**changes, lease_expires_at=None))


def _unless_hinted(due_at: Any) -> Case:
    """`due_at`, unless a hint has set an earlier time while the message was being sent."""
    was_not_hinted = When(due_at__gte=F("lease_expires_at"), then=due_at)
    return Case(was_not_hinted, default=F("due_at"))


def _succeed(delivery: Delivery) -> None:
    changes: dict[str, Any] = {"is_told": True, "tries": F("tries") + 1}
    is_last = delivery.event == events.EXPIRED or not delivery.wants_expired
    if delivery.whole:
        # The ledger keeps no document: a DELETE would leave it there.
        changes["body"] = ""
    if delivery.has_outcome and is_last:
        changes |= {"state": Delivery.State.DELIVERED, "ended_at": DatabaseNow(), "due_at": None}
    else:
        changes["due_at"] = _unless_hinted(Value(None))
    _free(delivery, changes)


def _give_up_receiver(delivery: Delivery, url: str) -> bool:
    """The receiver at `url` answered 410: send nothing more there. False if it has moved since."""
    if delivery.endpoint is not None:
        endpoint = Endpoint.objects.filter(pk=delivery.endpoint)
        if not endpoint.filter(url=url).update(state=Endpoint.State.GONE) and endpoint.exists():
            return False
    close(delivery, "The receiver answered 410: it is gone.", tries=1)
    return True


def close(delivery: Delivery, reason: str, *, tries: int = 0) -> None:
    """End a delivery because of its receiver. It can be replayed."""
    end: dict[str, Any] = {"state": Delivery.State.CLOSED, "ended_at": DatabaseNow()}
    end |= {"due_at": None, "tries": F("tries") + tries}
    if _free(delivery, end):
        logger.info("Webhook %s closed: %s", delivery.message_id, reason)


def _try_later(delivery: Delivery, answer: posts.Answer, *, is_refused: bool) -> None:
    wanted = pauses.retry_after_seconds(answer.retry_after)
    pause = max(pauses.pause_seconds(delivery.tries), wanted)
    left = _seconds_left(delivery)
    changes: dict[str, Any] = {"tries": F("tries") + 1}
    if left <= 0 and not delivery.has_outcome:
        # Nothing more is sent of this event. The outcome is to come, and has a time of its own.
        changes |= {"is_told": True, "due_at": _unless_hinted(Value(None)), "not_before": None}
    elif left <= 0:
        changes |= {"state": Delivery.State.FAILED, "ended_at": DatabaseNow(), "due_at": None}
    else:
        if answer.status is None and not is_refused:
            _spare(delivery, min(pause, LONGEST_SPARE_SECONDS))
        # The last try is at the end of the time, however long the receiver wants to be left alone.
        changes["due_at"] = _unless_hinted(after(min(pause, left)))
        changes["not_before"] = after(min(wanted, left)) if wanted else None
    _free(delivery, changes)


def _spare(delivery: Delivery, seconds: float) -> None:
    """Leave a receiver alone that hangs or is away: each further try would cost ten seconds."""
    others = due().filter(host=delivery.host).exclude(pk=delivery.pk)
    others.update(due_at=after(seconds))


def _seconds_left(delivery: Delivery) -> float:
    """The seconds for further tries, by the database's clock."""
    if delivery.give_up_at is None:
        return float(conf.get("WEBHOOK_RETRY"))
    left = microseconds(F("give_up_at") - DatabaseNow())
    rows = Delivery.objects.filter(pk=delivery.pk).annotate(left=left)
    return float(rows.values_list("left", flat=True).first() or 0) * 1e-6
