"""The duties that maintenance does in every worker."""

from collections.abc import Callable
from functools import partial

from async_reply.attempts import interrupts, rescue
from async_reply.files import orphans
from async_reply.publishing import queues, relay
from async_reply.services import retention
from async_reply.worker import presence
from async_reply.worker.maintenance import Step


def steps() -> list[Step]:
    """What keeps operations from being lost."""
    publish_due, republish = (
        partial(_unless_stopping, each) for each in (relay.publish_due, relay.republish_lost)
    )
    return [
        Step("relay", 1, publish_due, publishes=True, drains=True),
        Step("republish", 5, republish, publishes=True),
        Step("rescue", 5, rescue.rescue, rescues=True),
        Step("unserved", 60, queues.warn),
    ]


def cleaning_steps() -> list[Step]:
    """What removes content: in a thread of its own, since a storage may hang."""
    return [
        Step("purge", 60, retention.purge, drains=True),
        Step("sweep", 3600, orphans.OrphanDeleter().turn, drains=True),
        Step("forget", 3600, presence.forget),
    ]


def _unless_stopping(step: Callable[[], int]) -> int:
    """What a worker that stops has published it may get itself, and would have to leave again."""
    return 0 if interrupts.stopping.is_set() else step()
