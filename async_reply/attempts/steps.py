"""Runs the steps of a job: each is stored once it has run, and later attempts read what it stored.

A step returns its stored form, in its first attempt too, so that a later attempt gets nothing else.
Only what a step stores is a fact. After an exception that it does not store, the attempt begins no
further step and does not succeed: a later attempt may run the step with another outcome.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

from django.core.files import File

from async_reply import conf
from async_reply.attempts import interrupts, outages, step_storage, stored_values
from async_reply.attempts.claims import Claim
from async_reply.attempts.kinds import Exceptions
from async_reply.attempts.results import JobResult
from async_reply.exceptions import JobInterrupted, PayloadTooLarge, StepFailed, StepRefused
from async_reply.files import inputs, store
from async_reply.logs import logger
from async_reply.models import Operation, OperationFile, OperationStep

MAX_STEPS = 1000
#: Bytes of all values of an operation's steps.
MAX_BYTES = 16 * 1024 * 1024


class Steps:
    """The steps of one attempt: those that earlier attempts stored, and those that it stores."""

    def __init__(self, operation: Operation, claim: Claim, *, timeouts: Exceptions = ()) -> None:
        self._operation = operation
        self._claim = claim
        #: The exceptions of the pool in a job that runs for too long. No step stores them.
        self._timeouts = timeouts
        #: The stored steps by name; None until they are read.
        self._rows: dict[str, OperationStep] | None = None
        self._names: set[str] = set()
        self._opened_files: list[inputs.Opened] = []
        self._failure: BaseException | None = None
        self._is_over = False
        self._thread_id = threading.get_ident()
        #: How many functions of steps are running, in any thread.
        self._running = 0

    @interrupts.uninterrupted
    def run(
        self,
        name: str,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        stores: Exceptions | type[Exception],
        strict: bool,
        atomic: bool,
    ) -> Any:
        """Return what the step stored, or call `function` and store what it returns."""
        classes = stored_values.to_classes(stores)
        rows = self._begin(name)
        digest = stored_values.digest(args, kwargs)
        if name in rows:
            self._compare(rows[name], digest, strict=strict)
            return self._outcome(rows[name], classes)
        self._check_room(rows)
        self._claim.check_halftime()
        self._claim.look_if_old()
        operation_id, attempt = self._operation.pk, self._operation.attempt
        row = OperationStep(operation_id=operation_id, name=name, attempt=attempt, digest=digest)
        call = partial(self._call, row, function, args, kwargs, classes)
        try:
            cause = self._run_atomically(row, call) if atomic else self._run(row, call)
        except BaseException as error:
            self._failure = error
            raise
        rows[name] = row
        self._claim.check()
        self._claim.check_halftime()
        return self._outcome(row, classes, cause=cause)

    def _run(self, row: OperationStep, call: Callable[[], Exception | None]) -> Exception | None:
        cause = call()
        self._store(row)
        return cause

    def _run_atomically(
        self, row: OperationStep, call: Callable[[], Exception | None]
    ) -> Exception | None:
        cause = step_storage.store_atomically(self._claim, row, call)
        if cause is not None:
            self._store(row)
        return cause

    def _store(self, row: OperationStep) -> None:
        step_storage.store(self._claim, row)

    def _call(
        self,
        row: OperationStep,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        classes: tuple[type[Exception], ...],
    ) -> Exception | None:
        """Call the step's function, and put what it returns, or raises of `classes`, into the row.

        Returns the exception that the row holds.
        """
        began_at, cause = time.monotonic(), None
        self._count_running(1)
        try:
            value = interrupts.call_interruptibly(function, args, kwargs)
        except self._timeouts:
            raise
        except classes as error:
            if error is self._failure:  # of a step inside this one
                raise
            cause = error
            row.value, row.exception = stored_values.of_exception(error)
        else:
            self._set_value(row, value)
        finally:
            self._count_running(-1)
        row.seconds = time.monotonic() - began_at
        row.size = len(row.value.encode())
        self._check_size(row)
        return cause

    def _count_running(self, change: int) -> None:
        with self._claim.lock:
            self._running += change

    def begin_pause(self, name: str, what: str) -> tuple[OperationStep | None, bool]:
        """Check that the job may pause here and now.

        Returns the row of this name, and whether this attempt has had the name.
        """
        stored_values.check_name(name)
        self.check_place(what)
        if threading.get_ident() != self._thread_id:
            raise StepRefused(f"{what} begins in the job's own thread: only there it ends the job.")
        if self._running:
            raise StepRefused(f"{what} begins outside of steps: the job would run the step again.")
        self._claim.check(now=True)
        is_repeated, rows = name in self._names, self._stored()
        if name not in rows:
            self._check_room(rows)
        self._names.add(name)
        return rows.get(name), is_repeated

    def end_by(self, error: BaseException) -> NoReturn:
        """Raise `error`. A job that swallows it begins nothing more, and does not succeed."""
        self._failure = error
        raise error

    def begin_loop(self, name: str) -> bool:
        """Whether the loop of this name has ended in an earlier attempt."""
        return name in self._begin(name)

    def end_loop(self, name: str, done: int) -> None:
        """Store that the loop has done all its items, so that later attempts skip it."""
        self.check_place("The end of a loop")
        row = OperationStep(
            operation_id=self._operation.pk,
            name=name,
            attempt=self._operation.attempt,
            value=str(done),
            size=len(str(done)),
        )
        self._store(row)
        self._stored()[name] = row

    def _begin(self, name: str) -> dict[str, OperationStep]:
        """Check that a step may begin here and now; returns the stored steps by name."""
        stored_values.check_name(name)
        self.check_place("A step")
        self._claim.check(now=True)
        with self._claim.lock:
            if name in self._names:
                raise StepRefused(
                    f"This attempt has had a step {name!r}: give each step a name of its own, for "
                    "example with the key of the row that it is about."
                )
            rows = self._stored()
            if name in rows and rows[name].sort != OperationStep.Sort.STEP:
                raise StepRefused(f"{name!r} is the name of a {rows[name].sort}: choose another.")
            self._names.add(name)
        return rows

    def check_place(self, what: str) -> None:
        """Raise StepRefused or StepFailed where the attempt may not begin anything durable."""
        if self._is_over or os.getpid() != self._claim.pid:
            raise StepRefused(
                f"{what} begins while the job runs, in its own process: this handle belongs to an "
                "attempt that is over, or to another process."
            )
        if aliases := self._claim.changed_transactions():
            raise StepRefused(
                f"{what} begins outside of transactions, and one is open on "
                f"{', '.join(aliases)}: a rollback would undo what is stored. End it before, or "
                "open it inside the step's function."
            )
        self.raise_failure()

    def _stored(self) -> dict[str, OperationStep]:
        """The stored steps by name. They are read once, and only where there are some."""
        if self._rows is None:
            self._rows = self._read() if self._operation.steps else {}
        return self._rows

    def _read(self) -> dict[str, OperationStep]:
        steps = OperationStep.of(self._operation).select_related("file")
        rows = outages.read_for_job(self._operation.pk, lambda: list(steps))
        return {row.name: row for row in rows}

    def _compare(self, row: OperationStep, digest: str, *, strict: bool) -> None:
        """Tell, or with `strict` refuse, that the step was stored for other arguments."""
        if not row.digest or not digest or row.digest == digest:
            return
        text = f"the step {row.name!r} was stored in attempt {row.attempt} for other arguments"
        if strict:
            self._failure = StepFailed(f"It cannot go on: {text}. Give it another name.")
            raise self._failure
        operation = self._operation
        logger.warning("Operation id=%s kind=%s %s", operation.pk, operation.kind, text)

    def _check_room(self, rows: Mapping[str, OperationStep]) -> None:
        if len(rows.keys() | self._names) > MAX_STEPS:
            raise StepRefused(
                f"An operation has {MAX_STEPS:,} steps at most: do more in each step, or go "
                "through many items by operation.track(…)."
            )

    def _check_size(self, row: OperationStep) -> None:
        if sum(stored.size for stored in list(self._stored().values())) + row.size > MAX_BYTES:
            raise PayloadTooLarge(
                f"The values of all steps take more than {MAX_BYTES:,} bytes of JSON: return "
                "operation.file(...) from the step instead."
            )

    def _set_value(self, row: OperationStep, value: Any) -> None:
        """Put what the function returned into the row: JSON, or a file that is in the storage."""
        if isinstance(value, JobResult) and value.file is not None:
            value.file.role = OperationFile.Role.STEP
            row.file = value.file
        else:
            row.value = stored_values.of_value(value, limit=conf.get("MAX_RESULT"))

    def _outcome(
        self,
        row: OperationStep,
        classes: tuple[type[Exception], ...],
        *,
        cause: Exception | None = None,
    ) -> Any:
        """The stored value, an open file, or raise the stored exception."""
        if row.exception:
            try:
                error = stored_values.to_exception(row, classes)
            except StepFailed as failure:
                self._failure = failure
                raise
            raise error from cause
        return stored_values.to_value(row) if row.file is None else self._open(row.name, row.file)

    def _open(self, name: str, file: OperationFile) -> "File[Any]":
        handle = store.opened_for_reading(file)
        self._opened_files.append((name, handle))
        return handle

    def end(self) -> None:
        """The job has returned: nothing may begin. Raise if a failure of a step was swallowed."""
        self.close()
        self.raise_failure()

    def raise_failure(self) -> None:
        """Raise if a step has failed, and its exception is no fact."""
        failure = self._failure
        if isinstance(failure, JobInterrupted):
            raise failure
        if failure is not None:
            raise StepFailed(
                "A step has failed, so this attempt begins nothing durable and does not succeed: "
                "a later attempt may run that step with another outcome. To go on after an "
                "exception, catch it inside the step's function, or name it in stores=(…)."
            ) from failure

    def close(self) -> None:
        """Refuse further steps, and close the files that steps returned."""
        with self._claim.lock:
            self._is_over = True
            opened, self._opened_files = self._opened_files, []
        inputs.close(opened)
