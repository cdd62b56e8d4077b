"""Reads the WSGI environ of a request, and makes the environs of follow-up requests."""

from collections.abc import Mapping
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from async_reply.waiting.tickets import HANDOVER_KEY, Handover, Seen

#: Keys about the body of the client's request, and those that servers make from its URL.
LEFT_OUT = frozenset(
    {"CONTENT_TYPE", "HTTP_TRANSFER_ENCODING", "HTTP_EXPECT", "SCRIPT_URL", "REDIRECT_URL"}
)
#: Fields that a submit means for itself, and not for the GET of its result.
CONDITIONS = frozenset({"HTTP_RANGE", "HTTP_IF_RANGE", "HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"})
#: Django's CSRF middleware stores its findings under keys with this prefix.
CSRF_PREFIX = "CSRF_COOKIE"


def of(request: Any) -> dict[str, Any] | None:
    """The WSGI environ of REST framework's request; None under ASGI."""
    environ: dict[str, Any] | None = getattr(request._request, "environ", None)  # noqa: SLF001
    return environ


def has_threads(environ: Mapping[str, Any]) -> bool:
    """Whether the server has threads for other requests while one waits (PEP 3333)."""
    return bool(environ.get("wsgi.multithread"))


def follow_up(
    environ: dict[str, Any], url: str, *, seen: Seen | None = None
) -> tuple[dict[str, Any], Handover]:
    """The environ of a GET of `url` on this host by the same client, who does not wait again.

    Django decodes SCRIPT_NAME in place, but servers write Latin-1 (PEP 3333).
    """
    parts = urlsplit(url)
    left_out = LEFT_OUT if environ["REQUEST_METHOD"] == "GET" else LEFT_OUT | CONDITIONS
    if seen is not None:
        left_out |= {"HTTP_LAST_EVENT_ID"}  # `seen` takes its place
    script = environ.get("SCRIPT_NAME", "").rstrip("/").encode()
    path = unquote_to_bytes(parts.path).removeprefix(script)
    handover = Handover(is_follow_up=True, seen=seen)
    kept = {
        key: value
        for key, value in environ.items()
        if key not in left_out and not key.startswith(CSRF_PREFIX)
    }
    changed = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": script.decode("latin-1"),
        "PATH_INFO": path.decode("latin-1"),
        "QUERY_STRING": parts.query,
        "CONTENT_LENGTH": "0",
        "wsgi.input": BytesIO(),
        HANDOVER_KEY: handover,
    }
    return {**kept, **changed}, handover
