"""Ends a job from outside at a chosen call, for tests: as a client, a worker or a clock would.

The calls of a job are `progress`, `emit`, `log`, `check_canceled`, and those of `track`: one at its
start and one after each item.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest.mock import patch

from async_reply import services
from async_reply.attempts import causes, interrupts
from async_reply.attempts.claims import Claim
from async_reply.attempts.kinds import Kind
from async_reply.exceptions import (
    JobInterrupted,
    NotCancelable,
    OperationCanceled,
    TimeLimitExceeded,
    WorkerStopping,
)
from async_reply.models import Operation
from async_reply.services.cancellation import allows_cancel


class WorkerLost(JobInterrupted):
    """Stands for a worker that dies in a test. The row stays as the worker left it.

    Unlike in a process that is killed, the job's `except` and `finally` blocks run.
    """


@dataclass
class Interruption:
    """Ends the first attempt that reaches its `call`, which counts from 1.

    Make one by `cancel_at`, `lose_at`, `stop_at` or `time_out_at`, for `run_operations` or for a
    `FakeJob`.
    """

    call: int
    raises: type[JobInterrupted]
    #: Does to a real attempt what makes it end.
    act: Callable[[Claim], None] = field(repr=False)
    _calls: int = field(default=0, init=False, repr=False)
    _was_reached: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.call < 1:
            raise ValueError(f"The calls of a job count from 1, and {self.call} was given.")

    def count(self) -> bool:
        """Count a call; whether it is the chosen one."""
        self._calls += 1
        if self._was_reached or self._calls != self.call:
            return False
        self._was_reached = True
        return True

    def check_reached(self) -> None:
        """Raise AssertionError when no job made the call."""
        if not self._was_reached:
            raise AssertionError(f"No job reached call {self.call}: the last made {self._calls}.")

    @contextmanager
    def watching(self, kind: Kind) -> Iterator[None]:
        """A block in which one attempt runs; raises NotCancelable for a kind without a cancel."""
        if self.raises is OperationCanceled and not allows_cancel(kind):
            raise NotCancelable(f'{kind.name} has cancel="never": no client can cancel it.')
        self._calls = 0
        check, find_cause = Claim.check, causes.find_cause

        def check_and_act(claim: Claim, *, now: bool = False) -> None:
            is_chosen = self.count()
            if is_chosen:
                self.act(claim)
            try:
                check(claim, now=now or is_chosen)
            finally:
                interrupts.stopping.clear()

        def act_again(claim: Claim, error: BaseException) -> BaseException:
            # A cancel comes by another connection. Here the job's rollback has taken it back.
            if claim.interruption is OperationCanceled:
                self.act(claim)
            return find_cause(claim, error)

        with (
            patch.object(Claim, "check", check_and_act),
            patch.object(causes, "find_cause", act_again),
        ):
            yield


def cancel_at(call: int) -> Interruption:
    """A client cancels the operation just before this call of its job."""
    return Interruption(call, OperationCanceled, _cancel)


def lose_at(call: int) -> Interruption:
    """The worker dies at this call. The operation stays running until its lease is over."""
    return Interruption(call, WorkerLost, _lose)


def stop_at(call: int) -> Interruption:
    """The worker is told to stop. A job with `max_losses=0` hears nothing of it."""
    return Interruption(call, WorkerStopping, _stop)


def time_out_at(call: int) -> Interruption:
    """The time limit of the kind has passed at this call."""
    return Interruption(call, TimeLimitExceeded, _time_out)


def _cancel(claim: Claim) -> None:
    services.cancel(Operation.objects.get(pk=claim.operation.pk))


def _lose(claim: Claim) -> None:
    claim.is_lost = True
    raise WorkerLost


def _stop(_claim: Claim) -> None:
    interrupts.stopping.set()


def _time_out(claim: Claim) -> None:
    claim.deadline = float("-inf")
