"""Problem details for HTTP APIs (RFC 9457), as plain dicts."""

from collections.abc import Collection, Mapping
from http.client import responses
from typing import Any

from async_reply import conf

MEDIA_TYPE = "application/problem+json"
#: Members with a meaning in RFC 9457; an `instance` is for whoever writes the document.
MEMBERS = ("type", "title", "status", "detail")
#: What is said of a request or an operation whose field errors are listed.
SEE_ERRORS = "The request is not valid: see errors."

# As RFC 9110 has them: before 3.13 Python says "Entity" for some.
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
    "invalid-result": "The operation's result could not be stored",
}


def problem(status: int, detail: str, *, name: str | None = None, **members: Any) -> dict[str, Any]:
    """A problem document; `name` is the last part of its type, none means `about:blank`."""
    if name is None:
        kind, title = "about:blank", PHRASES.get(status, "Error")
    else:
        kind = conf.get("PROBLEM_TYPE_PREFIX") + name
        title = TITLES.get(name, TITLES["operation-failed"])
    return {"type": kind, "title": title, "status": status, "detail": detail, **members}


def failure(code: str, detail: str, *, status: int = 409) -> dict[str, Any]:
    """The `error` of an operation that did not succeed.

    Azure's `code` and `message` stand beside the members of RFC 9457: clients of both read it.
    """
    name = code if code in TITLES else "operation-failed"
    return {"code": code, "message": detail, **problem(status, detail, name=name)}


def split(detail: Any, *, taken: Collection[str] = MEMBERS) -> tuple[str, dict[str, Any]]:
    """Text and further members of what an exception or a handler of the project's says.

    A list is field errors. Of a dict `detail` is the text, and the rest are members of their own;
    those whose names are `taken` come under `errors`.
    """
    if isinstance(detail, Mapping):
        text = detail.get("detail")
        said = {str(key): value for key, value in detail.items()}
        if isinstance(text, str):
            del said["detail"]
        members = {key: value for key, value in said.items() if key not in taken}
        others = {key: value for key, value in said.items() if key in taken}
        if others:
            members.setdefault("errors", others)
        return text if isinstance(text, str) else "", members
    if isinstance(detail, list | tuple):
        return "", {"errors": list(detail)} if detail else {}
    return "" if detail is None else str(detail), {}


def in_order(error: dict[str, Any]) -> dict[str, Any]:
    """The members as `failure` puts them: PostgreSQL keeps another order."""
    order = ("code", "message", *MEMBERS, "errors")
    return {key: error[key] for key in order if key in error} | error
