"""Says in one sentence why an operation is pending, for operators.

`read` collects facts about the operation, its queue, the workers and the broker. `explain` finds
the first cause that keeps the operation from starting; it needs no database.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from django.utils.translation import gettext as _

from async_reply.database.clock import seconds_until
from async_reply.estimates import backlogs, wording
from async_reply.estimates.forecasts import Forecast
from async_reply.models import Operation, OperationStep
from async_reply.publishing import broker, queues
from async_reply.publishing.broker import breaker
from async_reply.status import Status

#: A message that is not sent after this time is more than a moment late.
LATE_SECONDS = 3.0
#: An operation that waits for more than so many times its forecast does so for another reason than
#: the jobs before it: jobs that run now take longer than jobs of their kinds did.
FORECASTS = 10


class Cause(Enum):
    """Why an operation is pending. The first one that is true keeps it from starting."""

    ASLEEP = "asleep"
    ASKED = "asked"
    NOT_DUE = "not due"
    NO_WORKER = "no worker"
    UNSERVED_QUEUE = "unserved queue"
    UNKNOWN_KIND = "unknown kind"
    BROKER_DOWN = "broker down"
    NOT_SENT = "not sent"
    QUEUED = "queued"
    NEXT = "next"


@dataclass(frozen=True)
class Facts:
    """The facts about a pending operation, its queue, the workers and the broker."""

    kind: str
    #: '' for an exchange that does not lead to exactly one known queue.
    queue: str
    available_at: datetime
    #: Seconds until it is due; below 0 for one that has been due for some time.
    due_in_seconds: float
    #: When its message was sent; None: a worker has still to send it.
    published_at: datetime | None
    is_asleep: bool = False
    is_asked: bool = False
    #: Whether any worker lives, whether one of them reads the queue, and whether one of these knows
    #: the kind. A worker of which no kinds are known counts as one that knows it.
    has_workers: bool = True
    is_served: bool = True
    is_kind_known: bool = True
    broker_down_since: datetime | None = None
    #: Whether the broker did not answer just now. It is asked about messages that were sent.
    is_broker_silent: bool = False
    #: Operations before it, and all that wait in its queue; `is_exact` is False if there are more.
    ahead: int = 0
    waiting: int = 1
    is_exact: bool = True
    #: Jobs that the queue's workers could run beside those that run.
    idle: int = 0
    #: Seconds until it starts; None when they are unknown.
    starts_in_seconds: float | None = None


@dataclass(frozen=True)
class Reason:
    """Why an operation is pending: a word for programs, and a sentence for people."""

    cause: Cause
    sentence: str


def why_pending(operation: Operation) -> Reason | None:
    """The reason why the operation is pending; None for one that is not.

    Takes five queries at most, and a question to the broker, which may have gone with the message.
    """
    if operation.status != Status.PENDING:
        return None
    facts = read(operation)
    reason = explain(facts)
    is_late = facts.due_in_seconds < -LATE_SECONDS
    if reason.cause in (Cause.QUEUED, Cause.NEXT) and is_late and not broker.answers():
        return explain(replace(facts, is_broker_silent=True))
    return reason


def read(operation: Operation) -> Facts:
    """The facts of now; counts of the queue may be two seconds old."""
    position = backlogs.position(operation)
    workers = list(queues.living().values_list("queues", "kinds", "broker_down_since"))
    readers = [kinds for names, kinds, _since in workers if position.queue in names]
    outages = [since for _names, _kinds, since in workers if since is not None]
    if breaker.is_open and breaker.down_since is not None:
        outages.append(breaker.down_since)
    return Facts(
        kind=operation.kind,
        queue=position.queue,
        available_at=operation.available_at,
        due_in_seconds=seconds_until(operation.available_at),
        published_at=operation.published_at,
        is_asleep=operation.pause == OperationStep.Sort.SLEEP,
        is_asked=operation.pause == OperationStep.Sort.QUESTION,
        has_workers=bool(workers),
        is_served=bool(readers) or not position.queue,
        is_kind_known=not readers or any(not kinds or operation.kind in kinds for kinds in readers),
        broker_down_since=min(outages, default=None),
        ahead=position.ahead,
        waiting=position.waiting,
        is_exact=position.is_exact,
        idle=position.idle,
        starts_in_seconds=Forecast(operation).queued_seconds,
    )


def explain(facts: Facts) -> Reason:
    """The first cause that keeps the operation from starting, and its sentence."""
    cause = _find_cause(facts)
    sentences = {
        Cause.ASLEEP: _("Its job sleeps until %(due)s, for another %(due_in)s."),
        Cause.ASKED: _("Its job waits for an answer until %(due)s, for another %(due_in)s."),
        Cause.NOT_DUE: _("It is not due until %(due)s, in %(due_in)s."),
        Cause.NO_WORKER: _("No worker lives: start one, or look why the workers stopped."),
        Cause.UNSERVED_QUEUE: _('It is in the queue "%(queue)s", which no living worker reads.'),
        Cause.UNKNOWN_KIND: _(
            'Its kind "%(kind)s" is unknown to every living worker of the queue "%(queue)s".'
        ),
        Cause.BROKER_DOWN: (
            _("The broker does not answer.")
            if facts.broker_down_since is None
            else _("The broker cannot be reached since %(down_since)s.")
        ),
        Cause.NOT_SENT: _("Its message is not sent yet: a worker sends it within seconds."),
        Cause.QUEUED: _queued(facts),
        Cause.NEXT: _(
            'A worker of the queue "%(queue)s" has a free process and should start it at once.'
        ),
    }
    return Reason(cause, sentences[cause] % _values(facts))


def _find_cause(facts: Facts) -> Cause:
    is_late = facts.published_at is None and facts.due_in_seconds < -LATE_SECONDS
    causes = {
        Cause.ASLEEP: facts.is_asleep and facts.due_in_seconds > 0,
        Cause.ASKED: facts.is_asked and facts.due_in_seconds > 0,
        Cause.NOT_DUE: facts.due_in_seconds > 0,
        Cause.NO_WORKER: not facts.has_workers,
        Cause.UNSERVED_QUEUE: not facts.is_served,
        Cause.UNKNOWN_KIND: not facts.is_kind_known,
        Cause.BROKER_DOWN: facts.is_broker_silent
        or (is_late and facts.broker_down_since is not None),
        Cause.NOT_SENT: facts.published_at is None,
        Cause.NEXT: facts.is_exact and facts.ahead < facts.idle,
    }
    return next((cause for cause, is_true in causes.items() if is_true), Cause.QUEUED)


def _queued(facts: Facts) -> str:
    if not facts.is_exact:
        return _('More than %(waiting)d operations wait. It is in the queue "%(queue)s".')
    starts_in = facts.starts_in_seconds
    if starts_in is None or -facts.due_in_seconds > FORECASTS * starts_in:
        return _('It is number %(number)d of %(waiting)d in the queue "%(queue)s".')
    return _(
        'It is number %(number)d of %(waiting)d in the queue "%(queue)s" and starts in about '
        "%(starts_in)s."
    )


def _values(facts: Facts) -> dict[str, object]:
    """The values for the sentences."""
    down_since = facts.broker_down_since
    return {
        "due": wording.moment(facts.available_at),
        "due_in": wording.duration(facts.due_in_seconds),
        "queue": facts.queue,
        "kind": facts.kind,
        "down_since": "" if down_since is None else wording.moment(down_since),
        "number": facts.ahead + 1,
        "waiting": facts.waiting,
        "starts_in": wording.duration(facts.starts_in_seconds or 0.0),
    }
