"""Tasks of Django, for the backend in tests/settings.py."""

from typing import Any

from django.tasks import task


@task
def add(number: int, more: int = 0) -> int:
    return number + more


@task(queue_name="reports")
def report() -> str:
    return "done"


@task
def fail() -> None:
    1 / 0  # noqa: B018


@task(takes_context=True)
def fail_once(context: Any) -> int:
    attempt: int = context.attempt
    if attempt == 1:
        raise ConnectionError
    return attempt


@task
async def add_later(number: int, more: int) -> int:
    return number + more
