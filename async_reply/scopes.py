"""What ASGI says of a request: read before Django does, and made anew for who has waited."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote, urlsplit

from django.core.handlers.asgi import get_script_prefix
from django.urls import Resolver404, resolve

from async_reply import headers
from async_reply.parking import KEY, Parking
from async_reply.views import EventsView
from async_reply.views.operations import OperationView

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: What a submit's headers say of its own body and conditions, and not of the reply's.
OF_THE_BODY = frozenset({b"content-length", b"content-type", b"transfer-encoding", b"expect"})
CONDITIONS = frozenset({b"range", b"if-range", b"if-match", b"if-none-match"})


def is_about_to_wait(scope: Scope) -> bool:
    """Whether it is a GET of one of our views, without a body, that asks to be parked."""
    fields = dict(scope["headers"])
    if scope["method"] != "GET" or OF_THE_BODY & set(fields):
        return False
    path = "/" + scope["path"].removeprefix(get_script_prefix(scope)).lstrip("/")
    try:
        view = getattr(resolve(path).func, "cls", object)
    except Resolver404:
        return False
    if not isinstance(view, type):
        return False
    wants = headers.wait(fields.get(b"prefer", b"").decode("latin-1")) is not None
    return issubclass(view, EventsView) or (wants and issubclass(view, OperationView))


def again(scope: Scope, url: str) -> Scope:
    """The scope of a GET of `url` on this host, by the same client, that does not wait."""
    parts = urlsplit(url)
    left_out = frozenset() if scope["method"] == "GET" else OF_THE_BODY | CONDITIONS
    return {
        **scope,
        "method": "GET",
        "path": unquote(parts.path),
        "raw_path": parts.path.encode("ascii"),
        "query_string": parts.query.encode("ascii"),
        "headers": [field for field in scope["headers"] if field[0] not in left_out],
        KEY: Parking(again=True),
    }


def still(scope: Scope) -> Scope:
    """The scope of a HEAD by a client that was let in: is it still?"""
    return {**scope, "method": "HEAD", KEY: Parking(again=True)}
