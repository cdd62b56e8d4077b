"""A WSGI environ made anew for a client that has waited in its thread."""

from collections.abc import Mapping
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from async_reply.waiting.tickets import KEY, Known, Parking

#: What a request's headers say of its own body, and what Django and servers have made of its URL.
LEFT_OUT = frozenset(
    {"CONTENT_TYPE", "HTTP_TRANSFER_ENCODING", "HTTP_EXPECT", "SCRIPT_URL", "REDIRECT_URL"}
)
#: The conditions of a submit are not those of a GET of its result.
CONDITIONS = frozenset({"HTTP_RANGE", "HTTP_IF_RANGE", "HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"})
#: Django's middleware against CSRF notes under these names what it has found.
NOTES = "CSRF_COOKIE"


def of(request: Any) -> dict[str, Any] | None:
    """What a WSGI server said of REST framework's request; None under ASGI."""
    environ: dict[str, Any] | None = getattr(request._request, "environ", None)  # noqa: SLF001
    return environ


def has_threads(environ: Mapping[str, Any]) -> bool:
    """Whether the server has threads for others while one waits (PEP 3333)."""
    return bool(environ.get("wsgi.multithread"))


def again(
    environ: dict[str, Any], url: str, *, known: Known | None = None
) -> tuple[dict[str, Any], Parking]:
    """The environ of a GET of `url` on this host, by the same client, that does not wait.

    Django decodes SCRIPT_NAME where it stands; the server's own octets are Latin-1 (PEP 3333).
    """
    parts = urlsplit(url)
    left_out = LEFT_OUT if environ["REQUEST_METHOD"] == "GET" else LEFT_OUT | CONDITIONS
    script = environ.get("SCRIPT_NAME", "").rstrip("/").encode()
    path = unquote_to_bytes(parts.path).removeprefix(script)
    place = Parking(again=True, known=known)
    kept = {
        key: value
        for key, value in environ.items()
        if key not in left_out and not key.startswith(NOTES)
    }
    made = {
        **kept,
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": script.decode("latin-1"),
        "PATH_INFO": path.decode("latin-1"),
        "QUERY_STRING": parts.query,
        "CONTENT_LENGTH": "0",
        "wsgi.input": BytesIO(),
        KEY: place,
    }
    return made, place
