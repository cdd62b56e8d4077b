"""Builds problem documents (RFC 9457) as plain dicts, for error responses and failed operations."""

from collections.abc import Collection, Mapping
from http.client import responses
from typing import Any

from async_reply import conf

MEDIA_TYPE = "application/problem+json"
#: Members that RFC 9457 defines, without `instance`: a project may set that one itself.
MEMBERS = ("type", "title", "status", "detail")
#: The text beside a list of field errors.
SEE_ERRORS = "The request is not valid: see errors."

# Phrases of RFC 9110. Python has older ones before 3.13, such as "Unprocessable Entity".
PHRASES = {
    **responses,
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}

TITLES = {
    "operation-failed": "The operation failed",
    "operation-canceled": "The operation was canceled",
    "operation-expired": "The operation has expired",
    "operation-finished": "The operation has already finished",
    "operation-unfinished": "The operation has not finished",
    "not-asked": "Nothing is asked",
    "operation-not-cancelable": "The operation cannot be canceled",
    "idempotency-key-invalid": "The idempotency key is malformed",
    "idempotency-key-required": "An idempotency key is required",
    "idempotency-key-reused": "The idempotency key was used for another request",
    "quota-exceeded": "Too many unfinished operations",
    "database-unavailable": "The service is temporarily unavailable",
    "storage-unavailable": "The service is temporarily unavailable",
    "storage-failed": "The operation's file could not be stored or read",
    "worker-lost": "The operation was interrupted too often",
    "timed-out": "The operation took too long",
    "unknown-kind": "No worker knows this kind of operation",
    "result-unreachable": "The operation's result cannot be reached",
    "events-too-large": "The operation's events take too much room",
    "invalid-result": "A result or an event of the operation could not be stored",
}


def problem(status: int, detail: str, *, name: str | None = None, **members: Any) -> dict[str, Any]:
    """A problem document. `name` is the last part of its type; without a name: `about:blank`."""
    if name is None:
        kind, title = "about:blank", PHRASES.get(status, "Error")
    else:
        kind = conf.get("PROBLEM_TYPE_PREFIX") + name
        title = TITLES.get(name, TITLES["operation-failed"])
    return {"type": kind, "title": title, "status": status, "detail": detail, **members}


def failure(code: str, detail: str, *, status: int = 409) -> dict[str, Any]:
    """The `error` of an operation that failed or was canceled.

    It has the members of RFC 9457, and `code` and `message` for clients of Azure's API style.
    """
    name = code if code in TITLES else "operation-failed"
    return {"code": code, "message": detail, **problem(status, detail, name=name)}


def split(detail: Any, *, taken: Collection[str] = MEMBERS) -> tuple[str, dict[str, Any]]:
    """The text and the further members in the `detail` of an exception or a project's handler.

    A list is field errors. In a dict, `detail` is the text and other items are members; an item
    whose name is `taken` goes below the member `errors`.
    """
    if isinstance(detail, Mapping):
        text = detail.get("detail")
        items = {str(key): value for key, value in detail.items()}
        if isinstance(text, str):
            del items["detail"]
        members = {key: value for key, value in items.items() if key not in taken}
        conflicting = {key: value for key, value in items.items() if key in taken}
        if conflicting:
            members.setdefault("errors", conflicting)
        return text if isinstance(text, str) else "", members
    if isinstance(detail, list | tuple):
        return "", {"errors": list(detail)} if detail else {}
    return "" if detail is None else str(detail), {}


def in_order(error: dict[str, Any]) -> dict[str, Any]:
    """The members in the order of `failure`: PostgreSQL stores them in another one."""
    order = ("code", "message", *MEMBERS, "errors")
    return {key: error[key] for key in order if key in error} | error
