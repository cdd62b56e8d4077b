"""Lists the duties of maintenance, for each worker and for `async_reply_maintain`."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from async_reply import conf
from async_reply.attempts import giving_up, interrupts, rescue
from async_reply.files import orphans
from async_reply.publishing import queues, relay
from async_reply.services import retention
from async_reply.statistics import rollup
from async_reply.worker import presence
from async_reply.worker.maintenance import Duty
from async_reply.worker.turns import OneForAll

#: Figures of finished operations are as old as this, and twice as old at most.
ROLL_UP_SECONDS = 30

#: Other packages add duties of a worker here. Each function gets the worker's consumer.
additional: list[Callable[[Any], Duty]] = []


def delivery(*, alone: bool = False) -> list[Duty]:
    """The duties that keep operations from being lost.

    One worker publishes lost messages again, and looks for queues without a worker, for all
    workers. `alone`: this process does so in any case.
    """
    republish = _shared("republish", 5, relay.republish_lost, alone=alone)
    return [
        Duty("relay", 1, partial(_publish, relay.publish_due), publishes=True, drains=True),
        replace(republish, function=partial(_publish, republish.function), publishes=True),
        Duty("rescue", 5, rescue.rescue, rescues=True),
        _shared("give up", 5, giving_up.give_up, alone=alone, drains=True),
        _shared("unserved", 10, queues.warn_of_unserved, alone=alone),
    ]


def cleanup(*, alone: bool = False) -> list[Duty]:
    """The duties that delete content. They have a thread of their own, since a storage may hang.

    One worker does them for all workers. `alone`: this process does so in any case.
    """
    return [
        _shared("purge", 60, retention.purge, alone=alone, drains=True),
        _shared("orphans", 3600, orphans.OrphanDeleter().turn, alone=alone, drains=True),
        _shared("workers", 3600, presence.delete_dead, alone=alone),
        _shared("statistics", ROLL_UP_SECONDS, _roll_up, alone=alone, drains=True),
    ]


def _roll_up() -> int:
    """Count what has finished. A full batch says that this turn was not enough."""
    return 0 if rollup.roll_up() else int(conf.get("BATCH"))


def _shared(
    name: str, interval: float, function: Callable[[], int], *, alone: bool, drains: bool = False
) -> Duty:
    return Duty(
        name,
        interval,
        function if alone else OneForAll(name, interval, function),
        drains=drains,
    )


def _publish(function: Callable[[], int]) -> int:
    """Call `function` unless this worker stops.

    A stopping worker may receive the message that it has just published, and would have to hand
    it back.
    """
    return 0 if interrupts.stopping.is_set() else function()
