"""Sends messages again, and sends a test: for the owner's API and for the admin."""

from datetime import datetime

from django.db.models import F

from async_reply import conf
from async_reply.contrib.webhooks import events, hints, submits
from async_reply.contrib.webhooks.models import Delivery, Endpoint
from async_reply.database.clock import DatabaseNow, after
from async_reply.database.identifiers import uuid7

#: Deliveries that one statement replays, oldest first.
REPLAYED_ROWS = 1000


def replay(*deliveries: Delivery) -> int:
    """Send the last event of ended deliveries again, with the same id; returns how many.

    An open delivery, and one that never had an event, is left out.
    """
    rows = Delivery.objects.filter(pk__in=[delivery.pk for delivery in deliveries])
    replayed = rows.exclude(state=Delivery.State.OPEN).exclude(event="")
    count = replayed.update(
        state=Delivery.State.OPEN,
        is_told=False,
        tries=0,
        due_at=DatabaseNow(),
        not_before=None,
        ended_at=None,
        give_up_at=after(conf.get("WEBHOOK_RETRY")),
        claims=F("claims") + 1,
    )
    if count:
        hints.start()
    return count


def replay_since(endpoint: Endpoint, since: datetime) -> int:
    """Send all that ended for an endpoint since then again; returns how many.

    Deliveries count that were closed while the endpoint was disabled.
    """
    rows = Delivery.objects.filter(endpoint=endpoint.pk, ended_at__gte=since)
    ended = rows.exclude(event=events.TEST).order_by("id").only("pk")
    part, count = list(ended[:REPLAYED_ROWS]), 0
    while part:
        count += replay(*part)
        # By now, some of this part may have ended once more.
        part = list(ended.filter(pk__gt=part[-1].pk)[:REPLAYED_ROWS])
    return count


def send_test(endpoint: Endpoint) -> Delivery:
    """Send a message of the type `webhook.test` to an endpoint."""
    delivery = Delivery(
        operation=uuid7(),
        kind="",
        owner=endpoint.owner,
        endpoint=endpoint.pk,
        host=submits.host(endpoint.url),
        event=events.TEST,
        body=events.write_test(endpoint.pk),
        has_outcome=True,
        due_at=DatabaseNow(),
        give_up_at=after(conf.get("WEBHOOK_RETRY")),
    )
    delivery.save(force_insert=True)
    hints.start()
    return delivery


def change_url(endpoint: Endpoint, url: str) -> None:
    """Set the URL of an endpoint, also for its open deliveries. The caller saves the endpoint."""
    endpoint.url = url
    of_endpoint = Delivery.objects.filter(endpoint=endpoint.pk, state=Delivery.State.OPEN)
    of_endpoint.update(host=submits.host(url), not_before=None)
