"""The stream of an operation's changes, as server-sent events."""

import queue
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from async_reply import conf, headers, parking, seats, sse, watch
from async_reply.models import Operation
from async_reply.responses import related
from async_reply.status import FINAL
from async_reply.views.access import unknown
from async_reply.views.operations import OperationView
from async_reply.views.waiting import Surroundings, ask_as

#: Seconds.
LIFE = 900


class EventsView(OperationView):
    """GET: an event for what is, and one for each change, until the operation has finished.

    A client that knows the end already is told 204, upon which it stops asking.
    """

    def get(self, request: Request, id: str, **kwargs: Any) -> HttpResponseBase:
        place = parking.found(request)
        if place.row is not None:
            return self.let_in_again(place.row)
        operation = self.get_object()
        seen = headers.last_event_id(request.headers.get("Last-Event-ID", ""))
        links = self.get_links(operation)
        if operation.status in FINAL and seen == operation.version:
            known = HttpResponse(status=204)
            del known["Content-Type"]
            return _dressed(known, links)
        if request.method == "HEAD":
            return _dressed(HttpResponse(content_type=headers.EVENTS), links)
        ticket = parking.Stream(operation, self.get_life(place), links=links, seen=seen)
        if place.offers:
            place.ticket = ticket
            return _dressed(HttpResponse(content_type=headers.EVENTS), links)
        may_read = partial(self.may_still_read, Surroundings())
        if hasattr(request, "scope"):  # an ASGI server that stops, or has no wrapper
            first = parking.Feed(ticket, _ignore, may_read=may_read).first()
            return _dressed(HttpResponse(first, content_type=headers.EVENTS), links)
        events = _events(ticket, may_read)
        return _dressed(StreamingHttpResponse(events, content_type=headers.EVENTS), links)

    def let_in_again(self, row: Operation) -> HttpResponseBase:
        """That the client is let in still: of the operation whoever asks knows all else."""
        self.get_pk()
        if self.valet_key is None and not self.access.sees(self.request, row):
            raise unknown()
        return HttpResponse()

    def may_still_read(self, around: Surroundings, row: Operation, shared: watch.Shared) -> bool:
        """Whether a client that was let in would be now; asked in the ticker's thread."""
        place = parking.Parking(again=True, row=row)
        with around.restored():
            answer = ask_as(self.request, self.request.build_absolute_uri(), "HEAD", place)
        return answer.status_code < 300

    def get_life(self, place: parking.Parking) -> float:
        """Seconds after which the stream ends, so that its client comes back with its credentials.

        A thread is held no longer than for any wait.
        """
        life: float = LIFE if place.offers else conf.get("MAX_WAIT")
        return min(life, self.seconds_left)


def _dressed(response: HttpResponseBase, links: dict[str, str]) -> HttpResponseBase:
    response["Link"] = related(links)
    response["X-Accel-Buffering"] = "no"
    return response


def _ignore(event: bytes, is_last: bool) -> None:
    """Where nobody stays for more."""


def _events(ticket: parking.Stream, may_read: parking.MayRead) -> Iterator[bytes]:
    """What is; then what follows, where a thread is free to wait for it."""
    news: queue.SimpleQueue[tuple[bytes, bool]] = queue.SimpleQueue()

    def put(event: bytes, is_last: bool) -> None:
        news.put((event, is_last))

    feed = parking.Feed(ticket, put, may_read=may_read)
    with seats.seats.taken() as free:
        yield feed.first()
        if ticket.operation.status in FINAL or not free:
            return
        if seats.leave_databases():
            yield from _follow(ticket, feed, news)


def _follow(
    ticket: parking.Stream, feed: parking.Feed, news: queue.SimpleQueue[tuple[bytes, bool]]
) -> Iterator[bytes]:
    operation = ticket.operation
    end = time.monotonic() + ticket.seconds
    with watch.ticker.watching(watch.Waiter(operation.pk, operation.version, feed.tell)):
        is_last = False
        while not is_last and (left := end - time.monotonic()) > 0:
            try:
                event, is_last = news.get(timeout=min(left, parking.KEEP_ALIVE))
            except queue.Empty:
                event = sse.KEEP_ALIVE
            if event:
                yield event
