"""Checks what a job returns, and stores it as the operation's result."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.urls import NoReverseMatch
from django.utils.http import url_has_allowed_host_and_scheme

from async_reply import conf
from async_reply.database import payloads
from async_reply.exceptions import PayloadError, PayloadTooLarge
from async_reply.models import Operation, OperationFile, OperationResult
from async_reply.protocol import routes


@dataclass(frozen=True)
class JobResult:
    """A result before it is stored: a JSON value, a file, or a location."""

    value: Any = None
    file: OperationFile | None = None
    location: dict[str, Any] | None = None
    content_type: str = ""
    headers: dict[str, str] = field(default_factory=dict)


def to_result(returned: Any) -> JobResult:
    """Check the value that a job returned; raises PayloadError when it cannot be stored."""
    if isinstance(returned, JobResult):
        return returned
    try:
        return JobResult(value=_to_json(returned))
    except PayloadTooLarge as error:
        raise PayloadTooLarge(f"{error} Return operation.file(...) instead.") from error


def _to_json(value: Any) -> Any:
    return payloads.to_json(value, limit=conf.get("MAX_RESULT"))


def created(route: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> JobResult:
    """A resource of this project as the result: a URL name and arguments, reversed at each read.

    Raises PayloadError where the project has no such URL.
    """
    location = _to_json({"route": route, "args": args, "kwargs": kwargs})
    try:
        routes.check(**location)
    except NoReverseMatch as error:
        raise PayloadError("The result's URL does not exist in this project.") from error
    return JobResult(location=location)


def redirect(url: str) -> JobResult:
    """An absolute URL as the result; raises ValueError for a host not in `REDIRECT_HOSTS`."""
    return JobResult(location=_to_json({"url": check_redirect(url)}))


def check_redirect(url: str) -> str:
    """Return `url`; raises ValueError unless it is absolute, on a host of `REDIRECT_HOSTS`."""
    hosts = set(conf.get("REDIRECT_HOSTS"))
    is_absolute = url.startswith(("http://", "https://")) and url.isprintable()
    if not is_absolute or not url_has_allowed_host_and_scheme(url, allowed_hosts=hosts):
        raise ValueError(
            f"{url!r} is not an absolute URL on an allowed host: add its host to "
            'ASYNC_REPLY["REDIRECT_HOSTS"].'
        )
    return url


def build_row(operation: Operation, result: JobResult) -> OperationResult:
    """The result's row, not stored yet."""
    return OperationResult(
        operation_id=operation.pk,
        attempt=operation.attempt,
        value=result.value,
        file=result.file,
        location=result.location,
        content_type=result.content_type,
        headers=result.headers,
    )


def store(operation: Operation, result: JobResult) -> OperationResult:
    """Insert the result's row, in the transaction that finishes the operation."""
    if result.file is not None:
        # After a rollback another file may have got the number of the first try.
        result.file.pk = None
        result.file.save(force_insert=True)
    row = build_row(operation, result)
    row.save(force_insert=True)
    return row


def is_stored(operation: Operation) -> bool:
    """Whether this attempt's result is in the database, after the answer to COMMIT was lost."""
    rows = OperationResult.objects.filter(operation_id=operation.pk, attempt=operation.attempt)
    return rows.exists()


def delete_rows(pks: Collection[UUID]) -> list[OperationFile]:
    """Delete the rows of results and files of the operations.

    The caller removes the bytes of the returned files.
    """
    files = list(OperationFile.objects.filter(operation_id__in=pks))
    OperationResult.objects.filter(operation_id__in=pks).delete()
    if files:
        OperationFile.objects.filter(pk__in=[file.pk for file in files]).delete()
    return files
