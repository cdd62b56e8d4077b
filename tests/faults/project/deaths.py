"""The boundaries of a delivery at which each process dies once, and shorter times for the test.

FAULTS_DEATHS is a folder. It gets a file for each boundary at which a process has died. If it is
empty, times are shorter, and nobody dies.
"""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

from async_reply.contrib.webhooks import (
    deliveries,
    duties,
    hints,
    pauses,
    posts,
    submits,
    tasks,
)
from async_reply.models import Operation
from async_reply.publishing import broker
from async_reply.status import FINAL

Call = Callable[..., Any]


@dataclass(frozen=True)
class Death:
    """The moment `before` or after a call of a function of `owner`.

    `counts` decides by the first argument (before) or by what was returned (after) whether the
    process dies at this call.
    """

    name: str
    owner: Any
    function: str
    before: bool = False
    counts: Callable[[Any], bool] = lambda _value: True

    def arm(self, folder: Path) -> None:
        wrapped = _fatal(self, getattr(self.owner, self.function), folder / self.name)
        setattr(self.owner, self.function, wrapped)


def _fatal(death: Death, function: Call, mark: Path) -> Call:
    @wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        if death.before and death.counts(args and args[0]):
            _die_once(mark)
        value = function(*args, **options)
        if not death.before and death.counts(value):
            _die_once(mark)
        return value

    return call


def _die_once(mark: Path) -> None:
    """Die without any cleanup: a web process alone, a worker with all of its children."""
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return
    if _is_worker():
        os.killpg(0, signal.SIGKILL)
    os._exit(9)


def _is_worker() -> bool:
    return "worker" in sys.argv


def _is_final(operation: Operation) -> bool:
    """Whether the row is final; the object in memory may not know."""
    return Operation.objects.get(pk=operation.pk).status in FINAL


SUBMIT = (
    Death("deliveries inserted, not committed", submits, "add_deliveries"),
    Death("operation and deliveries committed", broker, "send", before=True),
)
DELIVERY = (
    Death(
        "attempt begun, hint not given",
        *(hints, "give"),
        before=True,
        counts=lambda operation: not _is_final(operation),
    ),
    Death(
        "outcome committed, hint not given",
        *(hints, "give"),
        before=True,
        counts=_is_final,
    ),
    Death("deliveries marked, worker not told", hints, "start", before=True),
    Death("worker told", tasks, "publish"),
    Death("claimed, not posted", posts, "post", before=True),
    Death(
        "claimed with others", deliveries, "claim_due", counts=lambda messages: len(messages) > 1
    ),
    Death("posted, answer not stored", posts, "post", counts=lambda answer: answer.is_success),
    Death("failed, answer not stored", posts, "post", counts=lambda answer: not answer.is_success),
    Death("answer written, not committed", deliveries, "_write_ledger"),
    Death("success written, not committed", deliveries, "_succeed"),
    Death("answer written, next try not scheduled", deliveries, "_try_later", before=True),
    Death("next try written, not committed", deliveries, "_try_later"),
    Death("answer stored", deliveries, "record"),
    Death("found by the net, worker not told", duties, "mark_late", counts=bool),
)


def install(folder: Path) -> None:
    """Arm this process."""
    for death in DELIVERY if _is_worker() else SUBMIT:
        death.arm(folder)


def hasten() -> None:
    """Wait seconds where the product waits for tens of seconds."""
    kwdefaults: Any = posts.post.__kwdefaults__
    kwdefaults["deadline_seconds"] = 1.0
    deliveries.LEASE_SECONDS = 3.0
    posts.DEADLINE_SECONDS = 1.0
    pauses.FIRST_PAUSE_SECONDS, pauses.LONGEST_PAUSE_SECONDS = 0.5, 1.0
    duties.DUE_SECONDS, duties.NET_SECONDS = 1, 2
