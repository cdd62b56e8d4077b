"""What ASGI says of a request: read before Django does, and made anew for who has waited."""

from collections.abc import Awaitable, Callable, Hashable, Mapping, MutableMapping
from typing import Any
from urllib.parse import unquote, urlsplit

from django.core.handlers.asgi import get_script_prefix
from django.http import Http404
from django.urls import resolve
from django.utils import translation

from async_reply.database.identifiers import IN_PATH
from async_reply.protocol import headers
from async_reply.waiting.tickets import KEY, Known, Parking

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: What a request's headers say of its own body, which is not sent again.
OF_THE_BODY = frozenset({b"content-length", b"content-type", b"transfer-encoding", b"expect"})
#: The conditions of a submit are not those of a GET of its result.
CONDITIONS = frozenset({b"range", b"if-range", b"if-match", b"if-none-match"})
#: Two requests that differ in these alone are the same question.
IRRELEVANT = frozenset({KEY, "client"})


def is_about_to_wait(scope: Scope) -> bool:
    """Whether it is a GET of a view that parks, and asks for it.

    Of any other view the answer may be large: it is not to be kept back.
    """
    if scope["method"] != "GET" or not IN_PATH.search(scope["path"]):
        return False
    path = "/" + scope["path"].removeprefix(get_script_prefix(scope)).lstrip("/")
    language = translation.get_language_from_path(path) or translation.get_language()
    try:
        with translation.override(language):
            view = getattr(resolve(path).func, "cls", None)
    except Http404:  # a converter may raise any
        return False
    parks = getattr(view, "parks", "never")
    wishes = [value for name, value in scope["headers"] if name == b"prefer"]
    wants = headers.wait(b",".join(wishes).decode("latin-1")) is not None
    return parks == "always" or (parks == "if preferred" and wants)


def without_body(scope: Scope) -> Scope:
    """The same without a body: that of a GET means nothing (RFC 9110, section 9.3.1)."""
    return {**scope, "headers": _without(scope["headers"], OF_THE_BODY)}


def again(scope: Scope, url: str, *, known: Known | None = None) -> Scope:
    """The scope of a GET of `url` on this host, by the same client, that does not wait."""
    parts = urlsplit(url)
    left_out = OF_THE_BODY if scope["method"] == "GET" else OF_THE_BODY | CONDITIONS
    return {
        **scope,
        "method": "GET",
        "path": unquote(parts.path),
        "raw_path": parts.path.encode("ascii"),
        "query_string": parts.query.encode("ascii"),
        "headers": _without(scope["headers"], left_out),
        KEY: Parking(again=True, known=known),
    }


def _without(fields: Any, names: frozenset[bytes]) -> list[Any]:
    return [field for field in fields if field[0].lower() not in names]


def identity(scope: Scope) -> Hashable:
    """Equal for two requests that must be answered alike, as far as anybody can tell.

    All that server and other applications around Django have put into the scope counts: what is
    no plain value counts as itself. So the scope has to be kept for as long as its identity.
    """
    client = scope.get("client") or ("",)
    told = {name: value for name, value in scope.items() if name not in IRRELEVANT}
    return _frozen(told), client[0], scope[KEY].known


def _frozen(value: Any) -> Hashable:
    if isinstance(value, Mapping):
        return frozenset((_frozen(key), _frozen(each)) for key, each in value.items())
    if isinstance(value, list | tuple):
        return tuple(_frozen(each) for each in value)
    if isinstance(value, str | bytes | int | float | bool | None):
        return type(value), value
    return id(value)
