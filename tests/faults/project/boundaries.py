"""The steps of an operation at which a test lets a process die."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

from django.db import transaction

from async_reply import lifecycle, services, signals
from async_reply.attempts import failures, finishing, results, runner
from async_reply.models import OperationAttempt
from async_reply.publishing import broker, relay
from tests.faults.project import tasks

#: The exit code of a process that died at its boundary.
DIED = 9
Call = Callable[..., Any]


@dataclass(frozen=True)
class Boundary:
    """The moment `before` or after a call of a function of `owner`.

    `manner` is the manner of the job that reaches it, "" for the job without effects. `accepted`:
    whether the operation exists after its process has died there.
    """

    name: str
    owner: Any
    function: str
    before: bool = False
    manner: str = "silent"
    accepted: bool = True

    def arm(self) -> None:
        """Let this process die there, without any cleanup."""
        setattr(self.owner, self.function, _fatal(getattr(self.owner, self.function), self.before))


def _fatal(function: Call, before: bool) -> Call:
    @wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        if not before:
            function(*args, **options)
        os._exit(DIED)

    return call


SUBMIT = (
    Boundary("row inserted", relay, "publish_on_commit"),
    Boundary("row inserted, not committed", relay, "publish_on_commit", accepted=False),
    Boundary("committed, not published", broker, "send", before=True),
    Boundary("published", broker, "send"),
)
RELAY = (
    Boundary("reserved for publishing", lifecycle, "reserve"),
    Boundary("published by the relay", broker, "send"),
)
ATTEMPT = (
    Boundary("before the claim", lifecycle, "claim_unread", before=True),
    Boundary("claimed", lifecycle, "claim_unread"),
    Boundary("job entered", runner, "_call", before=True),
    Boundary("in the job", tasks, "_spend"),
    Boundary("job returned", runner, "_call"),
    Boundary("status written, not committed", lifecycle, "succeed"),
    Boundary("result written, not committed", results, "store"),
    Boundary("effects written, not committed", signals, "announce_finished"),
    Boundary("committed", finishing, "finish"),
    Boundary("status and result in one step", lifecycle, "succeed", manner=""),
    Boundary("failure written, not committed", lifecycle, "fail", manner="failing"),
    Boundary("failure recorded, not committed", failures, "record", manner="failing"),
    Boundary("failure committed", finishing, "finish", manner="failing"),
    Boundary("retry written, not committed", lifecycle, "retry", manner="flaky"),
    Boundary("retry committed", runner, "_run_again", manner="flaky"),
)
RESCUE = (
    Boundary("rescue written, not committed", lifecycle, "rescue"),
    Boundary("loss recorded, not committed", OperationAttempt.objects, "create"),
)


def submit(boundary: Boundary) -> Any:
    """Submit an operation whose token names the boundary.

    A submit in a transaction of its caller is stored at the caller's commit.
    """
    if not boundary.accepted:
        with transaction.atomic():
            return _submit(boundary)
    return _submit(boundary)


def _submit(boundary: Boundary) -> Any:
    if not boundary.manner:
        return services.submit(tasks.plain, input={"token": boundary.name}, owner="faults")
    values = {"seconds": 0, "manner": boundary.manner, "token": boundary.name}
    return services.submit(tasks.work, input=values, owner="faults")
