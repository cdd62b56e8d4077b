"""Lists the duties of maintenance: every worker does them, and so does `async_reply_maintain`."""

from collections.abc import Callable
from functools import partial
from typing import Any

from async_reply.attempts import interrupts, rescue
from async_reply.files import orphans
from async_reply.publishing import queues, relay
from async_reply.services import retention
from async_reply.worker import presence
from async_reply.worker.maintenance import Duty

#: Other packages add duties of a worker here. Each function gets the worker's consumer.
additional: list[Callable[[Any], Duty]] = []


def delivery() -> list[Duty]:
    """The duties that keep operations from being lost."""
    return [
        Duty("relay", 1, partial(_publish, relay.publish_due), publishes=True, drains=True),
        Duty("republish", 5, partial(_publish, relay.republish_lost), publishes=True),
        Duty("rescue", 5, rescue.rescue, rescues=True),
        Duty("unserved", 60, queues.warn_of_unserved),
    ]


def cleanup() -> list[Duty]:
    """The duties that delete content. They have a thread of their own, since a storage may hang."""
    return [
        Duty("purge", 60, retention.purge, drains=True),
        Duty("orphans", 3600, orphans.OrphanDeleter().turn, drains=True),
        Duty("workers", 3600, presence.delete_dead),
    ]


def _publish(function: Callable[[], int]) -> int:
    """Call `function` unless this worker stops.

    A stopping worker may receive the message that it has just published, and would have to hand
    it back.
    """
    return 0 if interrupts.stopping.is_set() else function()
