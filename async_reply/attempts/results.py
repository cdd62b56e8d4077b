"""What a job returns, and how it is stored."""

from dataclasses import dataclass, field
from typing import Any

from django.urls import NoReverseMatch
from django.utils.http import url_has_allowed_host_and_scheme

from async_reply import conf
from async_reply.database import payloads
from async_reply.exceptions import PayloadError, PayloadTooLarge
from async_reply.models import Operation, OperationFile, OperationResult
from async_reply.protocol import routes


@dataclass(frozen=True)
class Outcome:
    """A result before it is stored: a JSON value, a file, or a location."""

    value: Any = None
    file: OperationFile | None = None
    location: dict[str, Any] | None = None
    content_type: str = ""
    headers: dict[str, str] = field(default_factory=dict)


def outcome(returned: Any) -> Outcome:
    """What a job returned, checked; raises PayloadError for what cannot be stored."""
    if isinstance(returned, Outcome):
        return returned
    try:
        return Outcome(value=_bounded(returned))
    except PayloadTooLarge as error:
        raise PayloadTooLarge(f"{error} Return operation.file(...) instead.") from error


def _bounded(value: Any) -> Any:
    return payloads.to_json(value, limit=conf.get("MAX_RESULT"))


def created(route: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Outcome:
    """A resource of this project: a URL name and its arguments, reversed when it is read.

    Raises PayloadError where the project has no such URL.
    """
    location = _bounded({"route": route, "args": args, "kwargs": kwargs})
    try:
        routes.check(**location)
    except NoReverseMatch as error:
        raise PayloadError("The result is at a URL that there is not.") from error
    return Outcome(location=location)


def redirect(url: str) -> Outcome:
    """An absolute URL on a host that `REDIRECT_HOSTS` names; ValueError elsewhere."""
    return Outcome(location=_bounded({"url": allowed(url)}))


def allowed(url: str) -> str:
    """`url`, where it is an absolute one on a host that `REDIRECT_HOSTS` names; else ValueError."""
    hosts = set(conf.get("REDIRECT_HOSTS"))
    absolute = url.startswith(("http://", "https://")) and url.isprintable()
    if not absolute or not url_has_allowed_host_and_scheme(url, allowed_hosts=hosts):
        raise ValueError(
            f"{url!r} is not an absolute URL on an allowed host: add its host to "
            'ASYNC_REPLY["REDIRECT_HOSTS"].'
        )
    return url


def row(operation: Operation, outcome: Outcome) -> OperationResult:
    """The result as it is to be inserted."""
    return OperationResult(
        operation_id=operation.pk,
        attempt=operation.attempt,
        value=outcome.value,
        file=outcome.file,
        location=outcome.location,
        content_type=outcome.content_type,
        headers=outcome.headers,
    )


def store(operation: Operation, outcome: Outcome) -> OperationResult:
    """Insert the result's row; the transaction is the one that finishes the operation."""
    if outcome.file is not None:
        # Rolled back and tried again, its first number may be another's by now.
        outcome.file.pk = None
        outcome.file.save(force_insert=True)
    result = row(operation, outcome)
    result.save(force_insert=True)
    return result


def stored(operation: Operation) -> bool:
    """Whether this attempt's result is in: what a lost answer to COMMIT leaves to ask."""
    mine = OperationResult.objects.filter(operation_id=operation.pk, attempt=operation.attempt)
    return mine.exists()


def discard(operation: Operation) -> list[OperationFile]:
    """Delete the rows of result and files and return the latter, for their bytes to follow."""
    files = list(OperationFile.objects.filter(operation_id=operation.pk))
    OperationResult.objects.filter(operation_id=operation.pk).delete()
    OperationFile.objects.filter(operation_id=operation.pk).delete()
    return files
