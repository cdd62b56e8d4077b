"""The stream of an operation's changes, as server-sent events."""

import queue
import random
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from async_reply import conf, documents
from async_reply.models import Operation
from async_reply.protocol import headers
from async_reply.responses import related
from async_reply.status import FINAL, Status
from async_reply.views.operations import OperationView
from async_reply.waiting import answers, environs, events, slots, ticker, tickets

#: Seconds.
LIFE = 900
#: Milliseconds until a stream's client reconnects: from, to; not all come back at once.
RETRY = (1_000, 4_000)


class EventsView(OperationView):
    """GET: an event for what is, and one for each change, until the operation has finished.

    Each event is the answer to a request of its own, so that it is told to those alone who may
    know it: the first to the client's, the others to requests that are made of it. A client that
    knows the end already is told 204, upon which it stops asking.
    """

    parks = "always"

    def get(self, request: Request, id: str, **kwargs: Any) -> HttpResponseBase:
        place = tickets.found(request)
        operation = self.get_object()
        last_id = headers.last_event_id(request.headers.get("Last-Event-ID", ""))
        known = place.known or tickets.Known(last_id)
        links = self.get_links(operation)
        is_new = operation.version != known.version
        if not is_new and (place.again or operation.status in FINAL):
            response: HttpResponseBase = HttpResponse(status=204)
            del response["Content-Type"]
        elif request.method == "HEAD":
            response = HttpResponse()
        elif is_new:
            event, known = _event(operation, links, known)
            response = self.answer_stream(event, operation, known)
        else:
            response = self.answer_stream(events.KEEP_ALIVE, operation, known)
        if response.status_code != 204:
            response["Content-Type"] = headers.EVENT_STREAM
        response["Link"] = related(links)
        response["X-Accel-Buffering"] = "no"
        # A middleware that compressed the stream would keep events back until they fill a block.
        request.META.pop("HTTP_ACCEPT_ENCODING", None)
        return response

    def answer_stream(
        self, event: bytes, operation: Operation, known: tickets.Known
    ) -> HttpResponseBase:
        """The event, and those that follow where a thread is there to wait for them."""
        place = tickets.found(self.request)
        url = self.request.build_absolute_uri()
        life = self.get_life(place)
        ticket = tickets.Stream(operation, life, self.get_caller(), url, known)
        if place.offers or place.again:
            place.ticket = ticket
            return HttpResponse(event)
        environ = environs.of(self.request)
        if environ is None:
            return HttpResponse(event)
        if operation.status in FINAL or not environs.has_threads(environ):
            return StreamingHttpResponse([event])
        return StreamingHttpResponse(_events(ticket, event, environ))

    def get_life(self, place: tickets.Parking) -> float:
        """Seconds after which the stream ends, so that its client comes back with its credentials.

        A thread is held no longer than for any wait.
        """
        life: float = LIFE if place.offers else conf.get("MAX_WAIT")
        return min(life, self.seconds_left)


def _event(
    operation: Operation, links: dict[str, str], known: tickets.Known
) -> tuple[bytes, tickets.Known]:
    """The event that is new to a client to whom so much is known, and what it knows then."""
    status = str(operation.status)
    name = events.PROGRESS if status == known.status == Status.RUNNING else status
    retry = None if known.retry else random.randint(*RETRY)  # noqa: S311 no secret
    data = JSONRenderer().render(documents.describe(operation, links))
    event = events.event(name, data, id=operation.version, retry=retry)
    return event, tickets.Known(operation.version, status, retry=True)


def _events(ticket: tickets.Stream, first: bytes, environ: dict[str, Any]) -> Iterator[bytes]:
    """What is; then what follows, where a thread is free to wait for it."""
    with slots.seats.taken(ticket.caller) as is_free:
        yield first
        if is_free and slots.leave_databases():
            yield from _follow(ticket, environ)


def _follow(ticket: tickets.Stream, environ: dict[str, Any]) -> Iterator[bytes]:
    operation, known = ticket.operation, ticket.known
    ask = partial(answers.ask_in_thread, environ, ticket.url)
    news: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def tell(row: Operation | None, shared: ticker.Shared) -> None:
        news.put(None if row is None else row.version)

    end = time.monotonic() + ticket.seconds
    with ticker.ticker.watching(ticker.Waiter(operation.pk, known.version, tell)):
        while operation.status not in FINAL and (left := end - time.monotonic()) > 0:
            try:
                version = news.get(timeout=min(left, tickets.KEEP_ALIVE))
            except queue.Empty:
                yield events.KEEP_ALIVE
                continue
            if version is None:
                return
            if version > known.version:
                answer, place = ask(known=known)
                told = place.ticket
                if answer.status_code not in (200, 204):
                    return
                if isinstance(told, tickets.Stream):
                    operation, known = told.operation, told.known
                    yield answer.content  # type: ignore[attr-defined]
