"""Reads answers of servers: their delays, their status documents and their problems."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from async_reply.protocol import headers

#: The words of several servers: ours, Azure's, OGC's and others. Only their letters are compared.
SUCCEEDED = frozenset({"succeeded", "success", "successful", "completed", "complete", "done"})
FAILED = frozenset({"failed", "failure", "error", "canceled", "cancelled", "dismissed"})
UNFINISHED = frozenset(
    {
        *("pending", "running", "canceling", "cancelling", "accepted", "queued", "submitted"),
        *("notstarted", "started", "inprogress", "processing", "creating", "updating", "deleting"),
    }
)
#: A date in Retry-After may be so far away that no system can sleep for so long.
LONGEST_DELAY_SECONDS = 1_000_000.0


@dataclass(frozen=True)
class Question:
    """A question of the job. `schema` is the JSON Schema of an answer, which `link` takes by POST.

    `until` is the time at which the server gives up, as ISO 8601.
    """

    name: str
    link: str = field(compare=False)
    until: str = ""
    schema: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Progress:
    """The content of a status document. `progress` is 0 to 100, or None.

    `question` is what the job asks now, or None.
    """

    status: str
    progress: int | None
    message: str
    question: Question | None = None
    document: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)


def document(response: httpx.Response) -> dict[str, Any]:
    """The JSON object in an answer; {} for another body."""
    if "json" not in response.headers.get(headers.CONTENT_TYPE, ""):
        return {}
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def word(body: dict[str, Any]) -> str:
    """The status in a document, in small letters alone: `In progress` is `inprogress`."""
    status = body.get("status")
    return re.sub(r"[^a-z]", "", status.lower()) if isinstance(status, str) else ""


def progress(body: dict[str, Any]) -> Progress:
    percent: Any = body.get("progress", body.get("percentComplete"))
    try:
        shown: int | None = max(0, min(100, int(percent)))
    except (OverflowError, TypeError, ValueError):
        shown = None
    return Progress(
        status=str(body.get("status", "")),
        progress=shown,
        message=str(body.get("message") or ""),
        question=question(body),
        document=body,
    )


def question(body: dict[str, Any]) -> Question | None:
    """The question in a status document that this caller may answer."""
    # Some projects write all names in camel case.
    asked = body.get("input_required", body.get("inputRequired"))
    if not isinstance(asked, dict) or not isinstance(asked.get("link"), str):
        return None
    schema = asked.get("schema")
    return Question(
        name=str(asked.get("name") or ""),
        link=asked["link"],
        until=str(asked.get("until") or ""),
        schema=schema if isinstance(schema, dict) else {},
    )


def retry_after(response: httpx.Response) -> float | None:
    """The seconds of Retry-After, a number or a date (RFC 9110, 10.2.3); None without a delay."""
    value = response.headers.get(headers.RETRY_AFTER, "").strip()
    if value.isascii() and value.isdigit():
        return min(LONGEST_DELAY_SECONDS, float(value[:12]))
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = (moment - datetime.now(UTC)).total_seconds()
    return min(LONGEST_DELAY_SECONDS, max(0.0, seconds))


def problem(body: dict[str, Any]) -> dict[str, Any]:
    """The problem in a body: its `error` (Azure's form), or the body itself (RFC 9457)."""
    error = body.get("error")
    return error if isinstance(error, dict) else body
