"""A handle to call a job by itself: it needs no row, and records what the job shows and stores."""

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import RLock
from typing import Any, cast
from uuid import UUID

from async_reply.attempts import pauses, stored_values
from async_reply.attempts.claims import Claim
from async_reply.attempts.contents import Content
from async_reply.attempts.cursors import Kept
from async_reply.attempts.deadlines import Halftime
from async_reply.attempts.events import EventLog
from async_reply.attempts.jobs import Job
from async_reply.attempts.progress import Progress, columns
from async_reply.attempts.results import JobResult
from async_reply.attempts.steps import Steps
from async_reply.database import payloads
from async_reply.exceptions import NoAnswer
from async_reply.models import Operation, OperationStep
from async_reply.stored_events import LOG
from async_reply.testing.interruptions import Interruption
from async_reply.testing.isolation import files_in_memory


@dataclass(frozen=True)
class Shown:
    """The progress that one call of the job shows: `progress` is 0 to 100, or None."""

    progress: int | None
    message: str


@dataclass(frozen=True)
class FakeFile:
    """A file that a job made by `operation.file()`."""

    name: str
    content_type: str
    content: bytes


class FakeJob(Job):
    """Call a job with it: `export(FakeJob(), rows=3)` returns what the function returns.

    `shown` has the progress of each call, `files` what the job made, `steps` the value of each
    step, `emitted` and `logged` what it added to its log. `answers` has the answer to each
    question; one without an answer raises NoAnswer.
    Give `steps` to a job that is to go on after an earlier attempt. An `interruption` ends
    the job at its call: the job raises what a real one would raise there.
    """

    def __init__(
        self,
        *,
        input: Mapping[str, Any] | None = None,
        attempt: int = 1,
        owner: str = "",
        extra: Mapping[str, Any] | None = None,
        id: UUID | None = None,
        steps: Mapping[str, Any] | None = None,
        answers: Mapping[str, Any] | None = None,
        interruption: Interruption | None = None,
    ) -> None:
        operation = Operation(attempt=attempt, owner=owner, extra=dict(extra or {}))
        if id is not None:
            operation.id = id
        self._recorder = _Recorder(interruption)
        super().__init__(operation, cast("Claim", self._recorder))
        self._steps: _FakeSteps = _FakeSteps(operation, cast("Claim", self._recorder))
        self._steps.remember(steps or {})
        self._answers = dict(answers or {})
        self.input = dict(input or {})
        self.files: list[FakeFile] = []
        #: The name and the length or the end of each sleep. None of them waits.
        self.slept: list[tuple[str, timedelta | datetime]] = []

    @property
    def shown(self) -> list[Shown]:
        """The progress that the client could see after each call, oldest first."""
        return [Shown(**columns(progress)) for progress in self._recorder.shown]

    @property
    def emitted(self) -> list[tuple[str, Any]]:
        """The name and the data of each event, oldest first."""
        return [(name, data) for name, data in self._recorder.events.added if name != LOG]

    @property
    def logged(self) -> list[tuple[str, str]]:
        """The level and the text of each line of `operation.log`, oldest first."""
        lines = [data for name, data in self._recorder.events.added if name == LOG]
        return [(line["level"], line["text"]) for line in lines]

    @property
    def steps(self) -> dict[str, Any]:
        """The stored outcome of each step by name: a value, an exception, or the name of a file."""
        return self._steps.stored

    def file(
        self, content: Content, *, name: str, content_type: str = "application/octet-stream"
    ) -> JobResult:
        with files_in_memory():
            result = super().file(content, name=name, content_type=content_type)
            assert result.file is not None  # noqa: S101 file() makes one, or raises
            with result.file.file.open("rb") as stored:
                self.files.append(FakeFile(result.file.name, content_type, stored.read()))
        return result

    def sleep(self, name: str, *, until: datetime | None = None, **units: float | None) -> None:
        """Note the sleep in `slept`, and go on at once."""
        end = pauses.end_of_sleep(until, units)
        self._steps.begin_pause(name, "A sleep")
        self._steps.remember_pause(name, OperationStep.Sort.SLEEP)
        self.slept.append((name, end if isinstance(end, datetime) else timedelta(seconds=end)))

    def ask(self, name: str, *, timeout: timedelta) -> Any:
        """Return the answer given to this handle, at once, or raise NoAnswer."""
        pauses.begin_question(self._steps, name, timeout, asks=(name,))
        if name not in self._answers:
            raise NoAnswer(f"Nobody has answered {name!r} in time.")
        return payloads.to_json(self._answers[name])

    def finish(self) -> None:
        """Call the functions of `on_finish`, as the attempt does when it stores success."""
        for function in self.callbacks:
            function()

    def fail(self) -> None:
        """Call the functions of `on_failure`, as the attempt does when it stores a failure."""
        for function in self.failure_callbacks:
            function()

    def cancel(self) -> None:
        """Call the functions of `on_cancel`, as the attempt does when it has been canceled."""
        for function in self.cancel_callbacks:
            function()


class _FakeSteps(Steps):
    """Steps that are stored in memory."""

    def __init__(self, operation: Operation, claim: Claim) -> None:
        super().__init__(operation, claim)
        self._rows: dict[str, OperationStep] = {}

    def remember(self, values: Mapping[str, Any]) -> None:
        """Take `values` as stored by an earlier attempt."""
        for name, value in values.items():
            row = OperationStep(name=name, ordinal=len(self._rows) + 1)
            self._set_value(row, value)
            self._rows[name] = row

    def remember_pause(self, name: str, sort: str) -> None:
        self._rows.setdefault(name, OperationStep(name=name, sort=sort))

    @property
    def stored(self) -> dict[str, Any]:
        is_sleep = OperationStep.Sort.SLEEP
        rows = self._rows.items()
        return {name: self._shown(row) for name, row in rows if row.sort != is_sleep}

    @staticmethod
    def _shown(row: OperationStep) -> Any:
        if row.file is not None:
            return row.file.name
        return row.exception or stored_values.to_value(row)

    def _store(self, row: OperationStep) -> None:
        """Nothing is written."""

    def _run_atomically(
        self, row: OperationStep, call: Callable[[], Exception | None]
    ) -> Exception | None:
        return self._run(row, call)


class _FakeEvents(EventLog):
    """Keeps the events in memory."""

    def __init__(self) -> None:
        self.added: list[tuple[str, Any]] = []
        super().__init__(Operation())

    def _add(self, name: str, data: str, *, is_private: bool = False) -> int:
        self.added.append((name, json.loads(data)))
        return super()._add(name, data, is_private=is_private)


class _Recorder:
    """Takes the place of a claim, which would write to the row."""

    needs_check = True

    def __init__(self, interruption: Interruption | None) -> None:
        self.pid = os.getpid()
        self.lock = RLock()
        self.events = _FakeEvents()
        self.kept = Kept("", self.events)
        self.halftime = Halftime(Operation(), math.inf)
        self.shown: list[Progress] = []
        self._interruption = interruption

    @property
    def progress(self) -> Progress | None:
        return self.shown[-1] if self.shown else None

    @progress.setter
    def progress(self, progress: Progress) -> None:
        self.shown.append(progress)

    def changed_transactions(self) -> list[str]:
        return []

    def look_if_old(self) -> None:
        """No other process can take the operation."""

    def check_halftime(self) -> None:
        """It has as much time as it needs."""

    def check(self, *, now: bool = False) -> None:
        if self._interruption is not None and self._interruption.count():
            raise self._interruption.raises
