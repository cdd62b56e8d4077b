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
from async_reply.status import FINAL
from async_reply.waiting.callers import Caller
from async_reply.waiting.ticker import Tell, Waiter, has_ended, is_news

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

    It waits for a question of the job as well: `known_version` is the version that it has by its
    If-None-Match, else 0. A reader of the log waits for the next event instead: `events` is the
    last that the row had.
    """

    is_preferred: bool = True
    known_version: int = 0
    events: int | None = None

    def waiter(self, tell: Tell) -> Waiter:
        """Tells of the end, and of other changes that `ends_by` refuses."""
        row = self.operation
        return Waiter(row.pk, row.version, tell, events=self.events)

    def has_news(self, row: Operation | None) -> bool:
        """Whether the client need not wait: the operation has ended, or asks."""
        if self.events is not None:
            return has_ended(row)
        return is_news(row, known_version=self.known_version)

    def ends_by(self, row: Operation | None) -> bool:
        """Whether the wait is over, by a change that its waiter is told of."""
        return self.events is not None or self.has_news(row)


@dataclass(frozen=True)
class Submit(Wait):
    """A submit waits for the result. If none comes in time, its answer is the 202."""


@dataclass(frozen=True)
class Seen:
    """The events that the client of a stream has seen.

    `version` is the last one it knows, 0 for none. `status` is the last one that an event named.
    `has_retry` says whether an event told the client when to reconnect. `events` is the number of
    the last event in a stream of the log, and None in a stream of changes.
    """

    version: int = 0
    status: str = ""
    has_retry: bool = False
    events: int | None = None

    @property
    def number(self) -> int:
        """The number of the last event that the client has seen."""
        return self.version if self.events is None else self.events

    def newest(self, row: Operation) -> int:
        """The number of the last event that there is. In a log the outcome has the next number."""
        return row.version if self.events is None else row.events + has_ended(row)


@dataclass(frozen=True)
class Stream(Ticket):
    """A client reads a stream. The view's answer is the first part; then the client has `seen`."""

    seen: Seen

    def waiter(self, tell: Tell) -> Waiter:
        """Tells of the changes that make an event in this stream."""
        row = self.operation
        events = None if self.seen.events is None else row.events
        return Waiter(row.pk, row.version, tell, events=events)

    @property
    def is_behind(self) -> bool:
        """Whether there are more events already: the view's answer was a page of them."""
        return self.seen.number < self.seen.newest(self.operation)

    @property
    def is_over(self) -> bool:
        """Whether the client has seen the last event that there will ever be."""
        return self.operation.status in FINAL and not self.is_behind


@dataclass
class Handover:
    """The application sets the first four fields, the view sets the others.

    can_hold: the application can hold the client.
    is_stopping: the server stops, so no new client may wait.
    is_follow_up: the client has waited, and this request makes its answer.
    seen: the events that the client of a stream has seen; the view answers with the next ones.
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
