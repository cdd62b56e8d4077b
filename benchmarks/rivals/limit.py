"""The least that could answer: one statement for a poll, and a task that stores nothing."""

from pathlib import Path

from celery import shared_task
from django.db import connection
from django.http import HttpRequest, JsonResponse


@shared_task(name="limit.work", ignore_result=True)
def work(number: int, text: str) -> int:
    return number


@shared_task(name="limit.end", ignore_result=True)
def end(path: str) -> None:
    """Tell the benchmark that the worker has come to the end of its queue."""
    Path(path).touch()


def status(request: HttpRequest, id: str) -> JsonResponse:
    with connection.cursor() as cursor:
        cursor.execute("SELECT status FROM async_reply_operation WHERE id = %s", [id])
        (found,) = cursor.fetchone()
    return JsonResponse({"id": str(id), "status": found})
