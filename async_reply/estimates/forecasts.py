"""What is expected of an operation: when it ends, and when to ask again."""

from contextlib import suppress
from datetime import datetime

from django.db import Error

from async_reply.database.clock import seconds_until
from async_reply.estimates import backlogs, histories, plans
from async_reply.exceptions import UnknownKind
from async_reply.models import ESTIMATE_KEY, Operation
from async_reply.status import FINAL, Status
from async_reply.tasks import get_task

# The bits of an id that are random (RFC 9562, section 5.7).
RANDOM_BITS = 2**62 - 1


def retry_after(operation: Operation) -> int:
    """Whole seconds >= 1 until the client should come back; 1 where there is a reply already."""
    if operation.status in FINAL:
        return 1
    if operation.status == Status.CANCELING and operation.cancel_requested_at is not None:
        return plans.retry_after((), _since(operation.cancel_requested_at))
    durations = _durations(operation)
    if operation.status == Status.RUNNING and operation.started_at is not None:
        wait = plans.retry_after(durations, _since(operation.started_at))
        if operation.progress:
            own = _own(operation, operation.started_at, operation.progress)
            wait = max(1, round(plans.weigh(wait, own, operation.progress)))
        width = plans.width(durations)
    else:
        queued = _queued(operation)
        if not durations and not queued:
            return plans.retry_after((), _since(operation.created_at))
        wait = plans.retry_after_in_queue(durations, queued or 0.0)
        width = plans.width(durations) + plans.JITTER_IN_QUEUE * (queued or 0.0)
    return plans.jitter(wait, width, operation.pk.int & RANDOM_BITS)


def retry_after_submit(operation: Operation) -> int:
    """The same for who must be told of an operation: by its age where the database is away."""
    try:
        return retry_after(operation)
    except Error:
        return plans.retry_after((), _since(operation.created_at))


def retry_after_wait(operation: Operation) -> int:
    """The same for who has waited for it: as it is now, where the database says so."""
    with suppress(Error, Operation.DoesNotExist):
        operation.refresh_from_db()
    return retry_after_submit(operation)


def eta(operation: Operation) -> float | None:
    """Seconds until the end, with fractions; None when nothing is known or it is over."""
    if operation.status == Status.PENDING:
        service = plans.eta(_durations(operation), 0)
        queued = None if service is None else _queued(operation)
        return None if queued is None or service is None else queued + service
    if operation.status != Status.RUNNING or operation.started_at is None:
        return None
    remaining = plans.eta(_durations(operation), _since(operation.started_at))
    if not operation.progress:
        return remaining
    own = _own(operation, operation.started_at, operation.progress)
    return own if remaining is None else plans.weigh(remaining, own, operation.progress)


def queue_position(operation: Operation) -> int | None:
    """1 for the next in its queue; None where that is not known, or it does not wait there."""
    if operation.status != Status.PENDING or seconds_until(operation.available_at) > 0:
        return None
    place = backlogs.place(operation)
    return place.ahead + 1 if place.is_exact else None


def _durations(operation: Operation) -> tuple[float, ...]:
    """Seconds that operations like this one ran, oldest first."""
    try:
        expected = get_task(operation.kind).kind.expected_duration
    except UnknownKind:
        expected = None
    key = operation.reply.get(ESTIMATE_KEY)
    return plans.blend(histories.durations(operation.kind, key), expected)


def _queued(operation: Operation) -> float | None:
    """Seconds until a pending operation starts; None when nothing tells."""
    delay = seconds_until(operation.available_at)
    if delay > 0:
        return delay
    place = backlogs.place(operation)
    if place.ahead < place.idle:
        return 0.0
    mean = place.mean
    if mean is None:
        durations = _durations(operation)
        if not durations:
            return None if place.ahead else 0.0
        mean = plans.plan(durations).law.mean
    return plans.in_queue(place.ahead, mean=mean, workers=place.workers)


def _own(operation: Operation, started_at: datetime, progress: int) -> float:
    """Seconds until the end by the operation's own progress, which is as old as `updated_at`."""
    told = _since(operation.updated_at)
    remaining = plans.by_progress(max(0.0, _since(started_at) - told), progress)
    return max(0.0, remaining - told)


def _since(moment: datetime) -> float:
    return max(0.0, -seconds_until(moment))
