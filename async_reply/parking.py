"""What a view leaves for whoever parks its client, and the events of a stream.

The ASGI wrapper puts a Parking into each request's scope. A view that wants its client to wait
leaves a Ticket there and answers as if it did not; the client is then parked outside Django.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from django.http import HttpRequest
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from async_reply import documents, sse
from async_reply.models import Operation
from async_reply.status import FINAL, Status
from async_reply.watch import Shared

KEY = "async_reply.parking"
#: Milliseconds until a stream's client reconnects: from, to; not all come back at once.
RETRY = (1_000, 4_000)
#: Seconds between two comments on a stream where nothing happens.
KEEP_ALIVE = 30.0

#: Whether a stream's client may still be told of the operation.
MayRead: TypeAlias = Callable[[Operation, Shared], bool]


@dataclass(frozen=True)
class Ticket:
    """Who waits, and for how long."""

    operation: Operation
    seconds: float


@dataclass(frozen=True)
class Wait(Ticket):
    """A wait for the end; the client is then told what a GET of `url` answers it."""

    url: str


@dataclass(frozen=True)
class Submit(Wait):
    """The wait of a submit, whose answer is the 202 that there is, or the reply."""


@dataclass(frozen=True)
class Stream(Ticket):
    """A stream of events, with the links that its client has been given.

    `seen` is the version that the client knows, 0 for none.
    """

    links: dict[str, str]
    seen: int

    def render(self, operation: Operation, shared: Shared) -> bytes:
        """The document in one line; rendered once for all who were given the same links."""
        key = tuple(self.links.values())
        if key not in shared:
            shared[key] = JSONRenderer().render(documents.describe(operation, self.links))
        made: bytes = shared[key]
        return made


class Feed:
    """Turns rows into the events of one stream; `put` gets them, and whether it was the last.

    What `may_read` says is asked before each, since the client may have lost the right meanwhile.
    """

    def __init__(
        self,
        ticket: Stream,
        put: Callable[[bytes, bool], None],
        *,
        may_read: MayRead,
    ) -> None:
        self._ticket = ticket
        self._put = put
        self._may_read = may_read
        self._row = ticket.operation
        self._status = ""
        self._told_retry = False

    def first(self) -> bytes:
        """What the client does not know yet; a comment if it knows all."""
        if self._row.version == self._ticket.seen:
            return sse.KEEP_ALIVE
        return self._event(self._row, {})

    def tell(self, row: Operation | None, shared: Shared) -> None:
        """For the ticker; a stream of what is gone, or is the client's no longer, ends."""
        if row is None or row.is_gone or not self._may_read(row, shared):
            self._put(b"", True)
        else:
            self._put(self._event(row, shared), row.status in FINAL)

    def part(self) -> None:
        """What the client knows once more, with the time after which to come back."""
        self._told_retry = False
        self._put(self._event(self._row, {}), True)

    def _event(self, row: Operation, shared: Shared) -> bytes:
        status = str(row.status)
        name = sse.PROGRESS if status == self._status == Status.RUNNING else status
        retry = None if self._told_retry else random.randint(*RETRY)  # noqa: S311 no secret
        self._row, self._status, self._told_retry = row, status, True
        return sse.event(name, self._ticket.render(row, shared), id=row.version, retry=retry)


@dataclass
class Parking:
    """`offers` to park the client, or `refuses` since the server stops.

    `again`: the client was parked, and this is its answer; `row` is the operation as it was read
    for it, where all that is asked is whether the client may still see it.
    """

    offers: bool = False
    refuses: bool = False
    again: bool = False
    row: Operation | None = None
    ticket: Ticket | None = None


def found(request: Request | HttpRequest) -> Parking:
    """The request's Parking; one that offers nothing where no wrapper put any."""
    scope: Mapping[str, Any] = getattr(request, "scope", {})
    place: Parking = request.META.get(KEY) or scope.get(KEY) or Parking()
    return place
