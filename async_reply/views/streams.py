"""The base of the views that answer with a stream of server-sent events."""

import queue
import random
import time
from collections.abc import Generator, Iterator
from typing import Any

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from async_reply import conf
from async_reply.models import Operation
from async_reply.protocol import headers
from async_reply.responses import related
from async_reply.status import FINAL
from async_reply.views.operations import OperationView
from async_reply.waiting import answers, environs, events, slots, ticker, tickets

#: Seconds after which a stream ends, under ASGI.
MAX_STREAM_SECONDS = 900
#: The range of the pause before a client reconnects: not all clients come back at once.
RETRY_MILLISECONDS = (1_000, 4_000)


class StreamView(OperationView):
    """Answers with the events that the client has not seen, then with later ones as they come.

    Each part of the stream is the answer to a request of its own, so permissions are checked for
    each: the first is the answer to the client's request, the others are answers to follow-up
    requests. A client that has seen the end gets 204, and then stops asking.
    """

    @property
    def last_event_id(self) -> str:
        """The field by which a client that comes back says which event it saw last."""
        return str(self.request.headers.get(headers.LAST_EVENT_ID, ""))

    def get_seen(self, operation: Operation) -> tickets.Seen:
        """The events that the client says it has seen."""
        raise NotImplementedError

    def get_part(
        self, operation: Operation, links: dict[str, str], seen: tickets.Seen
    ) -> tuple[bytes, tickets.Seen]:
        """The next events for a client that has `seen` earlier ones, and what it has seen then."""
        raise NotImplementedError

    def answer_stream(self, request: Request) -> HttpResponseBase:
        handover = tickets.of(request)
        operation = self.get_object()
        seen = handover.seen or self.get_seen(operation)
        links = self.get_links(operation)
        is_new = seen.number != seen.newest(operation)
        if not is_new and (handover.is_follow_up or operation.status in FINAL):
            response: HttpResponseBase = HttpResponse(status=204)
            del response[headers.CONTENT_TYPE]
        elif request.method == "HEAD":
            response = HttpResponse()
        else:
            body, seen = self.get_part(operation, links, seen) if is_new else (b"", seen)
            if not body and not handover.is_follow_up:
                body = events.KEEP_ALIVE_COMMENT
            response = self.hold_stream(body, operation, seen)
        if response.status_code != 204:
            response[headers.CONTENT_TYPE] = headers.EVENT_STREAM
        response[headers.LINK] = related(links)
        response[headers.X_ACCEL_BUFFERING] = "no"
        # A middleware that compresses the stream would keep events back until a block is full.
        request.META.pop("HTTP_ACCEPT_ENCODING", None)
        return response

    def hold_stream(
        self, body: bytes, operation: Operation, seen: tickets.Seen
    ) -> HttpResponseBase:
        """The first part, and the later ones if a thread can wait for them."""
        handover = tickets.of(self.request)
        url = self.request.build_absolute_uri()
        seconds = self.get_stream_seconds(handover)
        ticket = tickets.Stream(operation, seconds, self.get_caller(), url, seen)
        if handover.can_hold or handover.is_follow_up:
            handover.ticket = ticket
            return HttpResponse(body)
        environ = environs.of(self.request)
        if environ is None:
            return HttpResponse(body)
        return StreamingHttpResponse(_parts(ticket, body, environ))

    def get_stream_seconds(self, handover: tickets.Handover) -> float:
        """Seconds until the stream ends, and its client comes back with its credentials.

        A stream holds a thread no longer than any other wait.
        """
        most: float = MAX_STREAM_SECONDS if handover.can_hold else conf.get("MAX_WAIT")
        return min(most, self.seconds_left)


def retry(seen: tickets.Seen) -> int | None:
    """The milliseconds for the `retry` of the next event; None if the client knows them already."""
    return None if seen.has_retry else random.randint(*RETRY_MILLISECONDS)  # noqa: S311 no secret


def _parts(ticket: tickets.Stream, first: bytes, environ: dict[str, Any]) -> Iterator[bytes]:
    """The first part, the other events that there are, and later ones if a thread is free."""
    end = time.monotonic() + ticket.seconds
    yield first
    if ticket.is_over or not slots.release_connections():
        return
    last = yield from _pages(ticket, environ, newest=ticket.seen.newest(ticket.operation))
    if last is None or last.is_over or not environs.has_threads(environ):
        return
    with slots.slot(last.caller) as is_free:
        if is_free:
            yield from _later_parts(last, environ, end=end)


def _later_parts(ticket: tickets.Stream, environ: dict[str, Any], *, end: float) -> Iterator[bytes]:
    last: tickets.Stream | None = ticket
    news: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def tell(row: Operation | None, shared: ticker.SharedAnswers) -> None:
        news.put(None if row is None else ticket.seen.newest(row))

    with ticker.ticker.watching(ticket.waiter(tell)):
        while last and not last.is_over and (left := end - time.monotonic()) > 0:
            try:
                newest = news.get(timeout=min(left, tickets.KEEP_ALIVE_SECONDS))
            except queue.Empty:
                yield events.KEEP_ALIVE_COMMENT
                continue
            if newest is None:
                return
            last = yield from _pages(last, environ, newest=newest)


def _pages(
    ticket: tickets.Stream, environ: dict[str, Any], *, newest: int
) -> Generator[bytes, None, tickets.Stream | None]:
    """The events through `newest`; returns the last ticket, or None if the client may not go on."""
    while ticket.seen.number < newest:
        answer, handover = answers.ask_in_thread(environ, ticket.url, seen=ticket.seen)
        if answer.status_code == 204:
            break
        if answer.status_code != 200 or not isinstance(handover.ticket, tickets.Stream):
            return None
        ticket = handover.ticket
        newest = max(newest, ticket.seen.newest(ticket.operation))
        yield answer.content  # type: ignore[attr-defined]
    return ticket
