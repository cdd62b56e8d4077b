"""Parts of the change page that are more than a field, as HTML from templates."""

import json
from collections.abc import Callable
from typing import Any

from django.apps import apps
from django.core.serializers.json import DjangoJSONEncoder
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from async_reply.models import Operation, OperationAttempt, OperationFile, OperationResult

#: Characters of a text that a page shows.
SHOWN = 20_000
#: Rows of a table that a page shows.
ROWS = 50


def text(value: str, *, tail: bool = False) -> SafeString:
    """`value` as it is, or its first `SHOWN` characters, or with `tail` its last."""
    shown = (value[-SHOWN:] if tail else value[:SHOWN]) if len(value) > SHOWN else value
    context = {
        "text": shown,
        "truncated": len(shown) < len(value),
        "shown": f"{len(shown):,}",
        "length": f"{len(value):,}",
        "tail": tail,
    }
    return render_to_string("async_reply/admin/text.html", context)


def document(value: Any) -> SafeString:
    """JSON, indented."""
    return text(json.dumps(value, indent=2, ensure_ascii=False, cls=DjangoJSONEncoder))


def files(operation: Operation, *, link: Callable[[OperationFile], str]) -> SafeString | str:
    """Those that came with the request and those that are the result."""
    rows = list(operation.files.order_by("role", "pk")[: ROWS + 1])
    if not rows:
        return ""
    context = {
        "files": [(row, link(row)) for row in rows[:ROWS]],
        "rows": ROWS,
        "more": len(rows) > ROWS,
    }
    return render_to_string("async_reply/admin/files.html", context)


def result(operation: Operation, *, link: Callable[[OperationFile], str]) -> SafeString | str:
    """The value, the file, or the place to go to."""
    found = OperationResult.objects.select_related("file").filter(operation=operation).first()
    if found is None:
        return ""
    context = {
        "result": found,
        "link": link(found.file) if found.file is not None else "",
        "location": document(found.location) if found.location is not None else "",
        "headers": document(found.headers) if found.headers else "",
        "value": document(found.value) if found.file is None and found.location is None else "",
    }
    return render_to_string("async_reply/admin/result.html", context)


def attempts(operation: Operation, *, tracebacks: bool) -> SafeString | str:
    """Those that ended other than well, the last one first."""
    queryset = OperationAttempt.objects.filter(operation=operation).order_by("-number")
    rows = list((queryset if tracebacks else queryset.defer("traceback"))[: ROWS + 1])
    if not rows:
        return ""
    shown = [
        (row, text(row.traceback, tail=True) if tracebacks and row.traceback else "")
        for row in rows[:ROWS]
    ]
    context = {
        "attempts": shown,
        "tracebacks": tracebacks,
        "rows": ROWS,
        "more": len(rows) > ROWS,
    }
    return render_to_string("async_reply/admin/attempts.html", context)


def celery_result(operation: Operation) -> int | None:
    """The primary key of what Celery's result backend keeps under the same id, by one look-up."""
    if not apps.is_installed("django_celery_results"):
        return None
    model = apps.get_model("django_celery_results", "TaskResult")
    found: int | None = (
        model._default_manager.filter(task_id=str(operation.pk))  # noqa: SLF001 Django's own API
        .values_list("pk", flat=True)
        .first()
    )
    return found
