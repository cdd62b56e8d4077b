"""Calls the functions that make up for what a failed or canceled operation has begun.

They run in the transaction that stores the outcome. An attempt whose process lives stores it
itself, with the functions that its job has named. A rescue and a cancel without an attempt know the
functions of the kind alone.
"""

from collections.abc import Callable
from contextlib import nullcontext

from django.db import connections, transaction

from async_reply.attempts import project_context
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.database import alias, errors
from async_reply.exceptions import DatabaseAway
from async_reply.logs import logger
from async_reply.models import Operation
from async_reply.status import Status

#: How often a rescue is tried before it is stored without functions that the database refuses.
TRIES = 3
#: The kinds that this process knows. `tasks` enters each one.
known_kinds: dict[str, Kind] = {}


class Compensation:
    """The functions for the end of an operation."""

    def __init__(self, operation: Operation, kind: Kind | None, job: Job | None = None) -> None:
        self.operation = operation
        #: Whether a function is being called.
        self.is_running = False
        self._kind = kind
        self._job = job
        self._have_run = False
        self._is_given_up = False

    def has_functions(self, status: Status) -> bool:
        """Whether there is a function for this outcome."""
        return bool(self._of_kind(status) or self._of_job(status))

    def call(self, status: Status) -> None:
        """Call the job's functions for this outcome, then the kind's with a fresh row."""
        self.is_running = self._have_run = False
        if self._is_given_up or not self.has_functions(status):
            return
        self.is_running = self._have_run = True
        with nullcontext() if self._job is None else project_context.around(self._job):
            for function in self._of_job(status):
                function()
            of_kind = self._of_kind(status)
            if of_kind is not None:
                of_kind(Operation.objects.get(pk=self.operation.pk))
        self.is_running = False

    def caused(self, error: BaseException) -> bool:
        """Whether a function raised it, or wrote rows that the database refuses at the commit."""
        if isinstance(error, DatabaseAway):
            return False
        return self.is_running or (self._have_run and errors.is_refusal(error))

    def give_up(self, error: BaseException) -> None:
        """Log the error of a function. From now on `call` does nothing."""
        self._is_given_up = True
        logger.error(
            "Operation id=%s kind=%s ends without its on_failure or on_cancel, which raised an "
            "error: the writes of these functions are undone.",
            self.operation.pk,
            self.operation.kind,
            exc_info=error,
        )

    def warn_of_unknown_kind(self) -> None:
        """Log that the operation has ended in a process that cannot know its functions."""
        if self._kind is None:
            logger.warning(
                "Operation id=%s kind=%s ends without on_failure and on_cancel, if its kind has "
                "any: this process does not know the kind.",
                self.operation.pk,
                self.operation.kind,
            )

    def stored(self, move: Callable[[], Status | None]) -> Status | None:
        """Commit `move` and the functions for the outcome that it returns, all or nothing.

        If a function raises, `move` is committed alone. A database that is away, or that refuses
        the transaction because of others, is no error of the function: the error is raised inside
        a transaction of the caller's, and else tried again.
        """
        tries_left = TRIES
        while True:
            tries_left -= 1
            self.is_running = self._have_run = False
            try:
                return self._try(move)
            except KeyboardInterrupt:
                raise
            # asyncio.CancelledError and gevent.Timeout are no Exception.
            except BaseException as error:
                is_temporary = errors.is_temporary(error)
                if not self.caused(error) or (
                    is_temporary and connections[alias()].in_atomic_block
                ):
                    raise
                if not is_temporary or tries_left <= 0:
                    self.give_up(error)

    def _try(self, move: Callable[[], Status | None]) -> Status | None:
        with transaction.atomic(using=alias()):
            status = move()
            if status is not None:
                self.call(status)
            return status

    def _of_kind(self, status: Status) -> Callable[[Operation], object] | None:
        if self._kind is None:
            return None
        if status is Status.FAILED:
            return self._kind.on_failure
        return self._kind.on_cancel if status is Status.CANCELED else None

    def _of_job(self, status: Status) -> list[Callable[[], object]]:
        if self._job is None:
            return []
        if status is Status.FAILED:
            return self._job.failure_callbacks
        return self._job.cancel_callbacks if status is Status.CANCELED else []


def of_lost(operation: Operation) -> Compensation:
    """The functions of an operation whose attempt has died: those of its kind."""
    return Compensation(operation, known_kinds.get(operation.kind))
