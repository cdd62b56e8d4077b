"""What a view leaves for whoever lets its client wait.

The ASGI wrapper puts a Parking into each request's scope. A view that wants its client to wait
leaves a Ticket there and answers as if it did not; the client is then parked outside Django. When
there is something to tell, Django is asked again, by a request that the client's own is copied to.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest

from async_reply.models import Operation
from async_reply.waiting.callers import Caller

KEY = "async_reply.parking"
#: Seconds between two comments on a stream where nothing happens.
KEEP_ALIVE = 30.0


@dataclass(frozen=True)
class Ticket:
    """Who waits, for what, and for how long; the client is told what a GET of `url` answers it."""

    operation: Operation
    seconds: float
    caller: Caller
    url: str


@dataclass(frozen=True)
class Wait(Ticket):
    """A wait for the end."""


@dataclass(frozen=True)
class Submit(Wait):
    """The wait of a submit, whose answer is the 202 that there is, or the reply."""


@dataclass(frozen=True)
class Known:
    """What the client of a stream has been told.

    The version, 0 for none; the status, where it has been named; and after which time to come back.
    """

    version: int = 0
    status: str = ""
    retry: bool = False


@dataclass(frozen=True)
class Stream(Ticket):
    """A stream of events; the view's answer is the first, after which this is `known`."""

    known: Known


@dataclass
class Parking:
    """`offers` to park the client, or `refuses` since the server stops.

    `again`: the client has waited, and this is its answer; of a stream it is the event that is new
    to one to whom so much is `known`. A view leaves the `ticket`, or tells whom it has let in; the
    result's view says that it `replied`, and nobody else in its place.
    """

    offers: bool = False
    refuses: bool = False
    again: bool = False
    known: Known | None = None
    ticket: Ticket | None = None
    caller: Caller | None = None
    replied: bool = False


def found(request: Any) -> Parking:
    """The request's Parking, Django's or REST framework's; one that offers nothing by default."""
    scope: Mapping[str, Any] = getattr(request, "scope", {})
    place: Parking = request.META.get(KEY) or scope.get(KEY) or Parking()
    return place


def address(request: HttpRequest | Any) -> str:
    """Where the request came from, as the server says."""
    told: str = request.META.get("REMOTE_ADDR", "")
    return told
