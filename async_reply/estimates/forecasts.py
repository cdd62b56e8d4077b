"""Estimates when an operation will end and when its client should poll next, for each answer."""

from contextlib import suppress
from datetime import datetime
from math import ceil

from django.db import Error
from django.utils.functional import cached_property

from async_reply.attempts.kinds import Kind
from async_reply.database.clock import seconds_until
from async_reply.estimates import backlogs, histories, plans
from async_reply.exceptions import UnknownKind
from async_reply.models import ESTIMATE_KEY, Operation, OperationStep
from async_reply.publishing.queues import UNSERVED_AFTER
from async_reply.status import FINAL, Status
from async_reply.tasks import get_task

#: The longest time between two polls of a pending operation whose job sleeps, or asks.
LONGEST_SECONDS = {OperationStep.Sort.SLEEP.value: 300, OperationStep.Sort.QUESTION.value: 60}

#: The bits of an id that are random (RFC 9562, section 5.7).
RANDOM_BITS = 2**62 - 1


class Forecast:
    """The `Retry-After`, `eta_seconds` and `queue_position` of one answer about an operation.

    Make one forecast for each answer and pass it on. Each value is computed when it is first read.
    Durations, position and kind are looked up once. Reading may raise django.db.Error.
    """

    def __init__(self, operation: Operation) -> None:
        self.operation = operation

    @cached_property
    def kind(self) -> Kind | None:
        """The options of the operation's task; None when this process does not know the task."""
        try:
            return get_task(self.operation.kind).kind
        except UnknownKind:
            return None

    @cached_property
    def retry_after(self) -> int:
        """Whole seconds >= 1 until the client should come back; 1 for a finished operation."""
        operation = self.operation
        if operation.status in FINAL:
            return 1
        if operation.status == Status.CANCELING and operation.cancel_requested_at is not None:
            return plans.retry_after((), _since(operation.cancel_requested_at))
        if operation.status == Status.RUNNING and operation.started_at is not None:
            wait = plans.retry_after(self._durations, _worked(operation))
            if operation.progress:
                own = _own(operation, operation.progress)
                wait = max(1, round(plans.weigh(wait, own, operation.progress)))
            width = plans.width(self._durations)
        else:
            queued = self.queued_seconds
            if queued is None or not (self._durations or queued):
                return plans.retry_after((), _since(operation.created_at))
            wait = plans.retry_after_in_queue(self._durations, queued)
            width = plans.width(self._durations) + plans.JITTER_IN_QUEUE * queued
        longest = LONGEST_SECONDS.get(operation.pause, wait + ceil(width))
        return min(longest, plans.jitter(wait, width, operation.pk.int & RANDOM_BITS))

    @property
    def retry_after_or_guess(self) -> int:
        """`retry_after`, or a guess from the operation's age when the database is away.

        For answers that must not fail: the client has an operation and must learn about it.
        """
        try:
            return self.retry_after
        except Error:
            return plans.retry_after((), _since(self.operation.created_at))

    @cached_property
    def eta_seconds(self) -> float | None:
        """Seconds until the end, with fractions; None when they are unknown, or it has ended."""
        operation = self.operation
        if operation.pause == OperationStep.Sort.QUESTION:
            return None
        if operation.status == Status.PENDING:
            service = plans.eta(self._durations, _earlier(operation))
            if service is None or self.queued_seconds is None:
                return None
            return self.queued_seconds + service
        if operation.status != Status.RUNNING or operation.started_at is None:
            return None
        remaining = plans.eta(self._durations, _worked(operation))
        if not operation.progress:
            return remaining
        own = _own(operation, operation.progress)
        return own if remaining is None else plans.weigh(remaining, own, operation.progress)

    @cached_property
    def queue_position(self) -> int | None:
        """1 for the next operation in its queue.

        None when the operation is not pending, is delayed, or is too far back to be counted.
        """
        operation = self.operation
        if operation.status != Status.PENDING or seconds_until(operation.available_at) > 0:
            return None
        return self._position.ahead + 1 if self._position.is_exact else None

    @cached_property
    def _durations(self) -> tuple[float, ...]:
        """Seconds that operations like this one ran, oldest first."""
        expected = None if self.kind is None else self.kind.expected_duration
        key = self.operation.reply.get(ESTIMATE_KEY)
        return plans.blend(histories.durations(self.operation.kind, key), expected)

    @cached_property
    def _position(self) -> backlogs.Position:
        return backlogs.position(self.operation)

    @cached_property
    def queued_seconds(self) -> float | None:
        """Seconds until a pending operation starts; None when they are unknown."""
        delay = seconds_until(self.operation.available_at)
        if delay > 0:
            return delay
        position = self._position
        if not position.is_served and -delay >= UNSERVED_AFTER.total_seconds():
            return None
        if position.ahead < position.idle:
            return 0.0
        mean = position.mean_seconds
        if mean is None:
            if not self._durations:
                return None if position.ahead else 0.0
            mean = plans.plan(self._durations).law.mean
        return plans.in_queue(position.ahead, mean=mean, workers=position.workers)


def retry_after_wait(operation: Operation) -> int:
    """The Retry-After for a client that has waited for the operation.

    Reads the row again first. When the database is away, this is a guess.
    """
    with suppress(Error, Operation.DoesNotExist):
        operation.refresh_from_db()
    return Forecast(operation).retry_after_or_guess


def _earlier(operation: Operation) -> float:
    """Seconds of earlier attempts behind which the job goes on: it has stored steps."""
    return float(operation.earlier_seconds) if operation.steps else 0.0


def _worked(operation: Operation) -> float:
    """Seconds that a running operation has been worked on."""
    started_at = operation.started_at
    return _earlier(operation) + (0.0 if started_at is None else _since(started_at))


def _own(operation: Operation, progress: int) -> float:
    """Seconds until the end by the operation's own progress, which was reported at `updated_at`."""
    age = _since(operation.updated_at)
    remaining = plans.by_progress(max(0.0, _worked(operation) - age), progress)
    return max(0.0, remaining - age)


def _since(moment: datetime) -> float:
    return max(0.0, -seconds_until(moment))
