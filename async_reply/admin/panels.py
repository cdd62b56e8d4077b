"""Renders the parts of an operation's page that are more than one field, from templates."""

import json
from collections.abc import Callable
from typing import Any

from django.apps import apps
from django.core.serializers.json import DjangoJSONEncoder
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from async_reply.models import Operation, OperationAttempt, OperationFile, OperationResult

#: The number of characters of a text that a page shows.
MAX_CHARACTERS = 20_000
#: The number of rows of a table that a page shows.
MAX_ROWS = 50


def text(value: str, *, from_end: bool = False) -> SafeString:
    """`value` as HTML: at most its first `MAX_CHARACTERS`, or with `from_end` its last."""
    shown = value[-MAX_CHARACTERS:] if from_end else value[:MAX_CHARACTERS]
    context = {
        "text": shown,
        "is_truncated": len(shown) < len(value),
        "shown_length": f"{len(shown):,}",
        "length": f"{len(value):,}",
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


def attempts(operation: Operation, *, with_tracebacks: bool) -> SafeString | str:
    """A table of the attempts that did not end well, the last one first."""
    queryset = OperationAttempt.objects.filter(operation=operation).order_by("-number")
    rows = list((queryset if with_tracebacks else queryset.defer("traceback"))[: MAX_ROWS + 1])
    if not rows:
        return ""
    shown = [
        (row, text(row.traceback, from_end=True) if with_tracebacks and row.traceback else "")
        for row in rows[:MAX_ROWS]
    ]
    context = {"attempts": shown, "max_rows": MAX_ROWS, "has_more": len(rows) > MAX_ROWS}
    return render_to_string("async_reply/admin/attempts.html", context)


def celery_result(operation: Operation) -> int | None:
    """The primary key of the row that Celery's result backend keeps under the operation's id."""
    if not apps.is_installed("django_celery_results"):
        return None
    model = apps.get_model("django_celery_results", "TaskResult")
    pk: int | None = (
        model._default_manager.filter(task_id=str(operation.pk))  # noqa: SLF001 Django's own API
        .values_list("pk", flat=True)
        .first()
    )
    return pk
