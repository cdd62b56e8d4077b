"""Reads the ASGI scope of a request before Django does, and makes those of follow-up requests."""

from collections.abc import Awaitable, Callable, Hashable, Mapping, MutableMapping
from typing import Any
from urllib.parse import unquote, urlsplit

from django.core.handlers.asgi import get_script_prefix
from django.http import Http404
from django.urls import resolve
from django.utils import translation

from async_reply.database.identifiers import IN_PATH
from async_reply.protocol import headers
from async_reply.waiting.tickets import HANDOVER_KEY, Handover, Seen

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: Fields about the body of the client's request. A follow-up request has no body.
BODY_FIELDS = frozenset({b"content-length", b"content-type", b"transfer-encoding", b"expect"})
#: Fields that a submit means for itself, and not for the GET of its result.
CONDITIONS = frozenset({b"range", b"if-range", b"if-match", b"if-none-match"})
#: Two requests that differ in these keys only are the same. `identity` looks into both itself.
LEFT_OUT_OF_IDENTITY = frozenset({HANDOVER_KEY, "client"})


def is_about_to_wait(scope: Scope) -> bool:
    """Whether the request is a GET whose view lets it wait, and which asks to wait or to stream.

    The answer of such a view is kept in memory until it is sent. Other answers may be too large.
    """
    if scope["method"] != "GET" or not IN_PATH.search(scope["path"]):
        return False
    path = "/" + scope["path"].removeprefix(get_script_prefix(scope)).lstrip("/")
    language = translation.get_language_from_path(path) or translation.get_language()
    try:
        with translation.override(language):
            view = getattr(resolve(path).func, "cls", None)
    except Http404:  # also raised by converters
        return False
    wait_mode = getattr(view, "wait_mode", "never")
    if wait_mode == "if streamed or preferred":
        wait_mode = "always" if headers.accepts_stream(_field(scope, b"accept")) else "if preferred"
    prefers_to_wait = headers.wait(_field(scope, b"prefer")) is not None
    return wait_mode == "always" or (wait_mode == "if preferred" and prefers_to_wait)


def _field(scope: Scope, name: bytes) -> str:
    """The field of the request with this name; several of them are one list."""
    return b",".join(value for key, value in scope["headers"] if key == name).decode("latin-1")


def without_body(scope: Scope) -> Scope:
    """The scope without a body: the body of a GET has no meaning (RFC 9110, section 9.3.1)."""
    return {**scope, "headers": _without(scope["headers"], BODY_FIELDS)}


def follow_up(scope: Scope, url: str, *, seen: Seen | None = None) -> Scope:
    """The scope of a GET of `url` on this host by the same client, who does not wait again.

    `seen` takes the place of Last-Event-ID. Clients that came back with other ids thus make the
    same request as soon as they have seen the same.
    """
    parts = urlsplit(url)
    left_out = BODY_FIELDS if scope["method"] == "GET" else BODY_FIELDS | CONDITIONS
    if seen is not None:
        left_out |= {b"last-event-id"}
    return {
        **scope,
        "method": "GET",
        "path": unquote(parts.path),
        "raw_path": parts.path.encode("ascii"),
        "query_string": parts.query.encode("ascii"),
        "headers": _without(scope["headers"], left_out),
        HANDOVER_KEY: Handover(is_follow_up=True, seen=seen),
    }


def _without(fields: Any, names: frozenset[bytes]) -> list[Any]:
    return [field for field in fields if field[0].lower() not in names]


def identity(scope: Scope) -> Hashable:
    """Equal for two requests only if they must have the same answer.

    Everything in the scope counts, also what servers and other applications have put there.
    Objects other than plain values are compared by `id`: keep the scope as long as its identity.
    """
    client = scope.get("client") or ("",)
    rest = {key: value for key, value in scope.items() if key not in LEFT_OUT_OF_IDENTITY}
    return _frozen(rest), client[0], scope[HANDOVER_KEY].seen


def _frozen(value: Any) -> Hashable:
    if isinstance(value, str | bytes | int | float | bool | None):
        return type(value), value
    if isinstance(value, list | tuple):
        return tuple(_frozen(item) for item in value)
    if isinstance(value, Mapping):
        return frozenset((_frozen(key), _frozen(item)) for key, item in value.items())
    return id(value)
