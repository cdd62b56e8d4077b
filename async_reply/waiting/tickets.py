"""Describes what a view and the waiting application tell each other about a request.

The application puts a Handover into each request. A view whose client is to wait leaves a Ticket in
the Handover, and answers as if the client did not wait. The application then holds the client
outside Django. After the wait it sends Django a follow-up request: a GET made from the client's own
request.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest

from async_reply.models import Operation
from async_reply.waiting.callers import Caller

#: The key of the Handover in an ASGI scope, and in `request.META` under WSGI.
HANDOVER_KEY = "async_reply.handover"
#: Seconds between two comments on a stream where nothing happens.
KEEP_ALIVE_SECONDS = 30.0


@dataclass(frozen=True)
class Ticket:
    """The caller waits up to `seconds` for the operation, and then gets the answer to `url`."""

    operation: Operation
    seconds: float
    caller: Caller
    url: str


@dataclass(frozen=True)
class Wait(Ticket):
    """A client waits for the end of the operation: by its own preference, or by ours.

    `known_version` is the version that the client has by its If-None-Match, else 0.
    """

    is_preferred: bool = True
    known_version: int = 0


@dataclass(frozen=True)
class Submit(Wait):
    """A submit waits for the result. If none comes in time, its answer is the 202."""


@dataclass(frozen=True)
class Seen:
    """The events that the client of a stream has seen.

    `version` is the last one it knows, 0 for none. `status` is the last one that an event named.
    `has_retry` says whether an event told the client when to reconnect.
    """

    version: int = 0
    status: str = ""
    has_retry: bool = False


@dataclass(frozen=True)
class Stream(Ticket):
    """A client reads a stream. The view's answer is the first event; then the client has `seen`."""

    seen: Seen


@dataclass
class Handover:
    """The application sets the first four fields, the view sets the others.

    can_hold: the application can hold the client.
    is_stopping: the server stops, so no new client may wait.
    is_follow_up: the client has waited, and this request makes its answer.
    seen: the events that the client of a stream has seen; the view answers with the next one.
    ticket: the view asks the application to hold the client.
    caller: the view accepted the submit of this caller.
    is_result: the response is the operation's result, and not an answer in its place.
    """

    can_hold: bool = False
    is_stopping: bool = False
    is_follow_up: bool = False
    seen: Seen | None = None
    ticket: Ticket | None = None
    caller: Caller | None = None
    is_result: bool = False


def of(request: Any) -> Handover:
    """The Handover of Django's or REST framework's request; an empty one without an application."""
    scope: Mapping[str, Any] = getattr(request, "scope", {})
    handover: Handover = request.META.get(HANDOVER_KEY) or scope.get(HANDOVER_KEY) or Handover()
    return handover


def address(request: HttpRequest | Any) -> str:
    """The address that the server says the request came from."""
    remote: str = request.META.get("REMOTE_ADDR", "")
    return remote
