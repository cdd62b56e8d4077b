"""Renders the parts of an operation's page that are more than one field, from templates."""

import json
from collections.abc import Callable
from typing import Any

from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.serializers.json import DjangoJSONEncoder
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.safestring import SafeString

from async_reply.admin import timelines
from async_reply.admin.quantities import format_count
from async_reply.models import (
    Operation,
    OperationAttempt,
    OperationFile,
    OperationResult,
    ProcessCommand,
)
from async_reply.status import ACTIVE

#: The number of characters of a text that a page shows.
MAX_CHARACTERS = 20_000
#: The number of rows of a table that a page shows.
MAX_ROWS = 50
#: The number of entries of the admin's log that a page shows.
MAX_ENTRIES = 20


def text(value: str, *, from_end: bool = False) -> SafeString:
    """`value` as HTML: at most its first `MAX_CHARACTERS`, or with `from_end` its last."""
    shown = value[-MAX_CHARACTERS:] if from_end else value[:MAX_CHARACTERS]
    context = {
        "text": shown,
        "is_truncated": len(shown) < len(value),
        "shown_length": format_count(len(shown)),
        "length": format_count(len(value)),
        "from_end": from_end,
    }
    return render_to_string("async_reply/admin/text.html", context)


def document(value: Any) -> SafeString:
    """A JSON value as indented text."""
    return text(json.dumps(value, indent=2, ensure_ascii=False, cls=DjangoJSONEncoder))


def files(operation: Operation, *, link: Callable[[OperationFile], str]) -> SafeString | str:
    """A table of the files of the request and of the result; `link` makes the URL of a file."""
    rows = list(operation.files.order_by("role", "pk")[: MAX_ROWS + 1])
    if not rows:
        return ""
    context = {
        "files": [(row, link(row)) for row in rows[:MAX_ROWS]],
        "max_rows": MAX_ROWS,
        "has_more": len(rows) > MAX_ROWS,
    }
    return render_to_string("async_reply/admin/files.html", context)


def result(operation: Operation, *, link: Callable[[OperationFile], str]) -> SafeString | str:
    """The value, the file or the location that the job returned, with the headers of the reply."""
    row = OperationResult.objects.select_related("file").filter(operation=operation).first()
    if row is None:
        return ""
    context = {
        "result": row,
        "link": link(row.file) if row.file is not None else "",
        "location": document(row.location) if row.location is not None else "",
        "headers": document(row.headers) if row.headers else "",
        "value": document(row.value) if row.file is None and row.location is None else "",
    }
    return render_to_string("async_reply/admin/result.html", context)


def timeline(
    operation: Operation, *, commands: list[ProcessCommand], with_payload: bool
) -> SafeString:
    """The timeline of the operation; with messages and tracebacks of exceptions if allowed."""
    rows = OperationAttempt.objects.filter(operation=operation).order_by("-number")
    if not with_payload:
        rows = rows.defer("traceback", "message")
    attempts = list(rows[: MAX_ROWS + 1])
    shown = attempts[:MAX_ROWS][::-1]
    story = timelines.build(operation, attempts=shown, commands=commands, now=timezone.now())
    context = {
        "timeline": story,
        "steps": [(step, _traceback(step) if with_payload else "") for step in story.steps],
        "shows_payload": with_payload,
        "max_rows": MAX_ROWS,
        "has_more": len(attempts) > MAX_ROWS,
    }
    return render_to_string("async_reply/admin/timeline.html", context)


def _traceback(step: timelines.Step) -> SafeString | str:
    if step.attempt is None or not step.attempt.traceback:
        return ""
    return text(step.attempt.traceback, from_end=True)


def stack(operation: Operation, *, commands: list[ProcessCommand]) -> SafeString | str:
    """The stack that an operator last asked for; '' unless this attempt was asked and runs."""
    for command in commands:
        is_asked = command.name == ProcessCommand.Name.SHOW_STACK
        if is_asked and command.attempt == operation.attempt and operation.status in ACTIVE:
            shown = text(command.answer, from_end=True) if command.answer else ""
            context = {"command": command, "stack": shown}
            return render_to_string("async_reply/admin/stack.html", context)
    return ""


def log(operation: Operation) -> SafeString:
    """The acts of operators on the operation in the admin, the last one first."""
    entries = LogEntry.objects.filter(
        content_type=ContentType.objects.get_for_model(Operation), object_id=str(operation.pk)
    ).select_related("user")
    rows = list(entries.order_by("-pk")[: MAX_ENTRIES + 1])
    context = {
        "entries": rows[:MAX_ENTRIES],
        "max_rows": MAX_ENTRIES,
        "has_more": len(rows) > MAX_ENTRIES,
    }
    return render_to_string("async_reply/admin/log.html", context)


def celery_result(operation: Operation) -> int | None:
    """The primary key of the row that Celery's result backend keeps under the operation's id."""
    model = apps.get_model("django_celery_results", "TaskResult")
    pk: int | None = (
        model._default_manager.filter(task_id=str(operation.pk))  # noqa: SLF001 Django's own API
        .values_list("pk", flat=True)
        .first()
    )
    return pk
