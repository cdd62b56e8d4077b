"""`Prefer: wait`: an answer that comes when there is something to say."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

from django.contrib.auth import SESSION_KEY, get_user
from django.http import HttpRequest, QueryDict
from django.http.response import HttpResponseBase
from django.urls import (
    get_script_prefix,
    get_urlconf,
    resolve,
    set_script_prefix,
    set_urlconf,
)
from django.utils import translation
from django.utils.functional import SimpleLazyObject
from rest_framework.request import Request
from rest_framework.response import Response

from async_reply import headers, parking, permissions, seats

#: What a submit's headers say of its own body, and not of the reply's.
CONDITIONS = frozenset({"HTTP_RANGE", "HTTP_IF_RANGE", "HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"})
#: What tells who asks: by the project's middleware, or by REST framework, which writes it there.
CALLER = ("user", "auth", "auser", "_cached_user", "_acached_user")


class Surroundings:
    """What Django keeps of a request in its thread: where it is mounted, URLs, the language."""

    def __init__(self) -> None:
        self._prefix = get_script_prefix()
        self._urlconf = get_urlconf()
        self._language = translation.get_language()

    @contextmanager
    def restored(self) -> Iterator[None]:
        """In another thread: until the end of the block."""
        own = Surroundings()
        set_script_prefix(self._prefix)
        set_urlconf(self._urlconf)
        try:
            with translation.override(self._language):
                yield
        finally:
            set_script_prefix(own._prefix)
            set_urlconf(own._urlconf)


#: What a waiting request is answered, `over` saying whether the operation has finished.
Finish = Callable[..., HttpResponseBase]


def wanted(request: Request, *, most: float) -> int | None:
    """The seconds this request is to wait; None where it did not ask, or has waited.

    `most` is what it may wait at most, 0 where waiting is off.
    """
    seconds = headers.wait(request.headers.get("Prefer", ""))
    if seconds is None or not most or request.method == "HEAD":
        return None
    place = parking.found(request)
    return None if place.again or place.refuses else int(min(seconds, most))


def hold(
    request: Request, ticket: parking.Wait, response: Response, finish: Finish
) -> HttpResponseBase:
    """`response`, or what `finish` says after the wait that the client prefers.

    The operation is unfinished. A server that parks clients gets the `ticket`; else this thread
    waits, and where none is left to, `response` is the answer at once.
    """
    seconds = int(ticket.seconds)
    if not seconds:
        return applied(response, seconds)
    place = parking.found(request)
    if place.offers:
        place.ticket = ticket
        return response
    over = seats.wait(ticket.operation, seconds=seconds)
    if over is None:
        return response
    return applied(finish(over=over), seconds)


def ask(request: Request, url: str) -> HttpResponseBase:
    """What `url`, one of ours, answers this caller now: their credentials are read anew."""
    return ask_as(request, url, "GET", parking.Parking(again=True))


def ask_as(request: Request, url: str, method: str, place: parking.Parking) -> HttpResponseBase:
    again = _again(request._request, url, method, place)  # noqa: SLF001 what DRF wraps
    _forget_caller(again, getattr(request, "came_as", None))
    match = again.resolver_match
    response: HttpResponseBase = match.func(again, *match.args, **match.kwargs)
    return response


def applied(response: HttpResponseBase, seconds: int) -> HttpResponseBase:
    """`response`, saying that the client's wish to wait was followed."""
    field = response.get("Preference-Applied", "")
    response["Preference-Applied"] = headers.applied(field, seconds)
    return response


def _again(request: HttpRequest, url: str, method: str, place: parking.Parking) -> Any:
    """`request` for another URL of this host, by a client that has waited."""
    parts = urlsplit(url)
    made: Any = copy(request)
    made.method = method
    made.path = unquote(parts.path)
    if made.path != request.path:
        made.path_info = "/" + made.path.removeprefix(get_script_prefix())
        made.resolver_match = None
    vars(made).pop(permissions.ATTRIBUTE, None)
    made.GET = QueryDict(parts.query)
    left_out = () if request.method == "GET" else CONDITIONS
    made.META = {
        **{key: value for key, value in request.META.items() if key not in left_out},
        "REQUEST_METHOD": method,
        "PATH_INFO": made.path_info,
        "QUERY_STRING": parts.query,
        "CONTENT_LENGTH": "0",
        parking.KEY: place,
    }
    vars(made).pop("headers", None)
    if made.resolver_match is None:
        made.resolver_match = resolve(made.path_info, getattr(request, "urlconf", None))
    return made


def _forget_caller(request: Any, came_as: Any) -> None:
    """Who was let in may have been logged out since, and their token withdrawn.

    A session is read anew; whom other middleware has found stays, since it is not asked again.
    """
    for name in CALLER:
        vars(request).pop(name, None)
    session = getattr(request, "session", None)
    if session is not None and SESSION_KEY in session:
        request.session = type(session)(session.session_key)
        request.user = SimpleLazyObject(partial(get_user, request))
    elif came_as is not None:
        request.user = came_as
