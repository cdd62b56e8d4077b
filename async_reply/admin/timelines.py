"""Tells the story of an operation as steps through its statuses, for its page.

`build` is pure. Each step says when it began, how long it took, and how long the operation waited
for the next one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from async_reply.admin import texts
from async_reply.estimates import wording
from async_reply.models import Operation, OperationAttempt, ProcessCommand
from async_reply.status import FINAL, Status

Outcome = OperationAttempt.Outcome

#: The width of the drawing. Browsers scale it.
WIDTH = 1000
#: A shorter delay is no step of its own, and a shorter wait is not written.
SHORTEST_DELAY_SECONDS = 1.0
SHORTEST_WAIT_SECONDS = 0.05

REASONS: dict[str, Any] = {
    Outcome.RETRY: gettext_lazy("The job raised an error, and is tried again."),
    Outcome.LOST: gettext_lazy("The process died, or could not renew its lease."),
    Outcome.RELEASED: gettext_lazy(
        "The attempt was given back: its worker stopped, or half of its time was over."
    ),
    Outcome.FAILED: gettext_lazy("The job raised an error, and is not tried again."),
    Outcome.TIMED_OUT: gettext_lazy("The job ran into its time limit."),
}


@dataclass
class Step:
    """Something that happened to the operation, with the time until the next step."""

    #: The end of its CSS class.
    name: str
    title: str
    at: datetime | None
    #: When an attempt ended; None for other steps, and while it runs.
    ended_at: datetime | None = None
    #: Sentences for every operator.
    notes: list[str] = field(default_factory=list)
    worker: str = ""
    #: The row of an attempt that did not end well.
    attempt: OperationAttempt | None = None
    #: How long it took, and how long the operation then waited.
    took: str = ""
    waited: str = ""


@dataclass(frozen=True)
class Bar:
    """A part of the drawing: the operation waited or ran for some time."""

    name: str
    x: float
    width: float
    title: str


@dataclass(frozen=True)
class Timeline:
    """The steps in order, and the drawing with its totals."""

    steps: list[Step]
    bars: list[Bar]
    waited: str
    ran: str
    width: int = WIDTH


def build(
    operation: Operation,
    *,
    attempts: Sequence[OperationAttempt],
    commands: Iterable[ProcessCommand] = (),
    now: datetime,
) -> Timeline:
    """The story until `now`. `attempts` are those that did not end well, the first one first."""
    runs = _runs(operation, attempts, now=now)
    for command in commands:
        _note_end(command, runs)
    end = operation.finished_at or now
    steps = [Step("submitted", _("Submitted"), operation.created_at), *runs]
    steps += _moments(operation, runs)
    steps.sort(key=lambda step: step.at or end)
    if operation.status in FINAL:
        steps.append(_last(operation))
    _measure(steps, runs, end=end)
    return _drawn(steps, runs, start=operation.created_at, end=end)


def _runs(
    operation: Operation, attempts: Sequence[OperationAttempt], *, now: datetime
) -> list[Step]:
    """A step for each attempt. The last one has no row while it runs, and if it ended well."""
    runs = [
        Step(
            row.outcome.replace(" ", "-"),
            _("Attempt %d") % row.number + f": {row.get_outcome_display()}",
            row.started_at or row.ended_at,
            row.ended_at,
            [str(REASONS[row.outcome])],
            row.worker,
            row,
        )
        for row in attempts
    ]
    numbers = [row.number for row in attempts]
    has_row = not operation.attempt or operation.attempt in numbers
    if not has_row and operation.started_at is not None and operation.status != Status.PENDING:
        status = operation.get_status_display().lower()
        runs.append(
            Step(
                operation.status,
                _("Attempt %d") % operation.attempt + f": {status}",
                operation.started_at,
                operation.finished_at,
                worker=operation.worker,
            )
        )
    return runs


def _moments(operation: Operation, runs: Sequence[Step]) -> list[Step]:
    """The end of the last delay, the last message, and a request to cancel."""
    moments = []
    ends = [operation.created_at, *(run.ended_at for run in runs if run.ended_at is not None)]
    delay = min(abs(_seconds(end, operation.available_at)) for end in ends)
    if delay > SHORTEST_DELAY_SECONDS:
        moments.append(Step("due", _("Due"), operation.available_at))
    if operation.published_at is not None:
        step = Step("published", _("Message sent"), operation.published_at)
        if operation.publishes > 1:
            step.notes.append(_("Messages sent in all: %d.") % operation.publishes)
        moments.append(step)
    if operation.cancel_requested_at is not None and operation.attempt:
        moments.append(Step("canceling", _("Asked to cancel"), operation.cancel_requested_at))
    return moments


def _last(operation: Operation) -> Step:
    step = Step(operation.status, operation.get_status_display(), operation.finished_at)
    error = operation.error or {}
    if operation.status == Status.FAILED and error.get("code"):
        step.notes.append(f"{error['code']}: {texts.translated(str(error.get('message', '')))}")
    return step


def _note_end(command: ProcessCommand, runs: Sequence[Step]) -> None:
    """Say that an operator told the process of an attempt to end."""
    if command.name != ProcessCommand.Name.END:
        return
    for step in runs:
        number = step.attempt.number if step.attempt is not None else None
        if number == command.attempt or (number is None and step is runs[-1]):
            step.notes.append(
                _("An operator told its process to end at %s.") % wording.moment(command.given_at)
            )
            if command.answered_at is not None:
                step.notes.append(_("The process runs other jobs as well, and did not end."))


def _measure(steps: list[Step], runs: list[Step], *, end: datetime) -> None:
    """Set how long each attempt ran, and how long the operation then waited for the next step."""
    for run in runs:
        run.took = wording.duration(_seconds(run.at or end, run.ended_at or end))
    begins = [step.at or end for step in steps] + [end]
    for step, following in zip(steps, begins[1:], strict=True):
        begin, until = step.ended_at or step.at or end, min(following, end)
        is_running = any((run.at or end) <= begin < (run.ended_at or end) for run in runs)
        if not is_running and _seconds(begin, until) >= SHORTEST_WAIT_SECONDS:
            step.waited = wording.duration(_seconds(begin, until))


def _drawn(steps: list[Step], runs: list[Step], *, start: datetime, end: datetime) -> Timeline:
    """The bars of the drawing: the runs, and the waits between them."""
    total = max(_seconds(start, end), 0.001)
    bars, ran, reached = [], 0.0, start
    for step in runs:
        # The row of an attempt is written a moment after the operation's own end.
        begin, until = min(step.at or reached, end), min(step.ended_at or end, end)
        bars.append(_bar("wait", _("waited"), reached, begin, start=start, total=total))
        bars.append(_bar("run", step.title, begin, until, start=start, total=total))
        ran += _seconds(begin, until)
        reached = max(reached, until)
    bars.append(_bar("wait", _("waited"), reached, end, start=start, total=total))
    return Timeline(
        steps,
        [bar for bar in bars if bar.width > 0],
        waited=wording.duration(total - ran),
        ran=wording.duration(ran),
    )


def _bar(
    name: str, title: str, begin: datetime, until: datetime, *, start: datetime, total: float
) -> Bar:
    seconds = max(0.0, _seconds(begin, until))
    x = round(WIDTH * _seconds(start, begin) / total, 1)
    width = round(WIDTH * seconds / total, 1)
    return Bar(name, x, width, f"{title}, {wording.duration(seconds)}")


def _seconds(begin: datetime, until: datetime) -> float:
    """Seconds between two times of the database, which may be naive."""
    return until.timestamp() - begin.timestamp()
