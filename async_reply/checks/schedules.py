"""Checks that the entries of celery beat's schedule can submit the operations that they name."""

import difflib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from celery import current_app
from django.core.checks import CheckMessage, Error

from async_reply import tasks
from async_reply.worker import beat


def check_schedule() -> Iterator[CheckMessage]:
    """No entry names an operation task itself, and `async_reply.submit` gets a kind and its input.

    Celery's own setting is read. A scheduler that has its entries in a database has others.
    """
    schedule = current_app.conf.beat_schedule
    # Another type is an error of beat's own.
    entries = schedule.items() if isinstance(schedule, Mapping) else ()
    for name, entry in sorted(entries):
        get = entry.get if isinstance(entry, Mapping) else _getter(entry)
        task, args, kwargs = get("task"), get("args") or (), get("kwargs") or {}
        if task == beat.submit.name:
            problem = _problem(args, kwargs)
            if problem:
                yield Error(
                    f"The entry {name!r} of CELERY_BEAT_SCHEDULE submits nothing: {problem}",
                    hint='Write "kwargs": {"kind": "reports.export_report", "input": {…}}.',
                    id="async_reply.E044",
                )
        elif isinstance(current_app.tasks.get(str(task)), tasks.OperationTask):
            yield Error(
                f"The entry {name!r} of CELERY_BEAT_SCHEDULE names the operation {task!r}, which "
                "beat cannot start: no row would exist.",
                hint=f'Write "task": "{beat.submit.name}", "kwargs": {{"kind": "{task}", '
                '"input": {…}}.',
                id="async_reply.E043",
            )


def _getter(entry: Any) -> Any:
    """Reads the attributes of a ScheduleEntry as the items of a dict are read."""
    return lambda name: getattr(entry, name, None)


def _problem(args: Any, kwargs: Any) -> str:
    """The reason why `async_reply.submit` fails with these arguments; '' if it does not."""
    try:
        given = inspect.signature(beat.submit.run).bind(*args, **kwargs).arguments
        kind = given["kind"]
        task = current_app.tasks.get(kind)
        if isinstance(task, tasks.OperationTask):
            task.kind.check_input(given.get("input") or {})
            return ""
    except TypeError as error:
        return str(error)
    near = difflib.get_close_matches(str(kind), tasks.registered, n=1)
    remedy = f": did you mean {near[0]!r}?" if near else "."
    return f"no operation task is called {kind!r}{remedy}"
