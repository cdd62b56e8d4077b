"""What ASGI says of a request: read before Django does, and made anew for who has waited."""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote, urlsplit

from django.core.handlers.asgi import get_script_prefix
from django.http import Http404
from django.urls import resolve

from async_reply import headers
from async_reply.models import Operation
from async_reply.parking import KEY, Parking
from async_reply.views import EventsView, MonitorView, StatusView

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: What a submit's headers say of its own body and conditions, and not of the reply's.
OF_THE_BODY = frozenset({b"content-length", b"content-type", b"transfer-encoding", b"expect"})
CONDITIONS = frozenset({b"range", b"if-range", b"if-match", b"if-none-match"})
#: Without an operation's id in its path a request is none of ours: most need no more of a look.
ID = re.compile("[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", re.IGNORECASE)


def is_about_to_wait(scope: Scope) -> bool:
    """Whether it is a GET of a view that parks, without a body, and asks for it.

    Of any other view the answer may be large: it is not to be kept back.
    """
    fields = dict(scope["headers"])
    if scope["method"] != "GET" or not ID.search(scope["path"]) or OF_THE_BODY & set(fields):
        return False
    path = "/" + scope["path"].removeprefix(get_script_prefix(scope)).lstrip("/")
    try:
        view = getattr(resolve(path).func, "cls", object)
    except Http404:  # a converter may raise any
        return False
    if not isinstance(view, type):
        return False
    wants = headers.wait(fields.get(b"prefer", b"").decode("latin-1")) is not None
    return issubclass(view, EventsView) or (wants and issubclass(view, (StatusView, MonitorView)))


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


def still(scope: Scope, row: Operation) -> Scope:
    """The scope of a HEAD by a client that was let in: is it still?"""
    return {**scope, "method": "HEAD", KEY: Parking(again=True, row=row)}
