"""Streams an operation's changes to its client, as server-sent events."""

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

#: Seconds after which a stream ends, under ASGI.
MAX_STREAM_SECONDS = 900
#: The range of the pause before a client reconnects: not all clients come back at once.
RETRY_MILLISECONDS = (1_000, 4_000)


class EventsView(OperationView):
    """GET: an event for the present state, then one for each change until the operation finishes.

    Each event is the answer to a request of its own, so permissions are checked for each: the first
    is the answer to the client's request, the others are answers to follow-up requests. A client
    that has seen the end gets 204, and then stops asking.
    """

    wait_mode = "always"

    def get(self, request: Request, id: str, **kwargs: Any) -> HttpResponseBase:
        handover = tickets.of(request)
        operation = self.get_object()
        last_id = headers.last_event_id(request.headers.get(headers.LAST_EVENT_ID, ""))
        seen = handover.seen or tickets.Seen(last_id)
        links = self.get_links(operation)
        is_new = operation.version != seen.version
        if not is_new and (handover.is_follow_up or operation.status in FINAL):
            response: HttpResponseBase = HttpResponse(status=204)
            del response[headers.CONTENT_TYPE]
        elif request.method == "HEAD":
            response = HttpResponse()
        elif is_new:
            event, seen = _event(operation, links, seen)
            response = self.answer_stream(event, operation, seen)
        else:
            response = self.answer_stream(events.KEEP_ALIVE_COMMENT, operation, seen)
        if response.status_code != 204:
            response[headers.CONTENT_TYPE] = headers.EVENT_STREAM
        response[headers.LINK] = related(links)
        response[headers.X_ACCEL_BUFFERING] = "no"
        # A middleware that compresses the stream would keep events back until a block is full.
        request.META.pop("HTTP_ACCEPT_ENCODING", None)
        return response

    def answer_stream(
        self, event: bytes, operation: Operation, seen: tickets.Seen
    ) -> HttpResponseBase:
        """The event, and the later events if a thread can wait for them."""
        handover = tickets.of(self.request)
        url = self.request.build_absolute_uri()
        seconds = self.get_stream_seconds(handover)
        ticket = tickets.Stream(operation, seconds, self.get_caller(), url, seen)
        if handover.can_hold or handover.is_follow_up:
            handover.ticket = ticket
            return HttpResponse(event)
        environ = environs.of(self.request)
        if environ is None:
            return HttpResponse(event)
        if operation.status in FINAL or not environs.has_threads(environ):
            return StreamingHttpResponse([event])
        return StreamingHttpResponse(_events(ticket, event, environ))

    def get_stream_seconds(self, handover: tickets.Handover) -> float:
        """Seconds until the stream ends, and its client comes back with its credentials.

        A stream holds a thread no longer than any other wait.
        """
        most: float = MAX_STREAM_SECONDS if handover.can_hold else conf.get("MAX_WAIT")
        return min(most, self.seconds_left)


def _event(
    operation: Operation, links: dict[str, str], seen: tickets.Seen
) -> tuple[bytes, tickets.Seen]:
    """The event for a client that has `seen` earlier ones, and what the client has seen then."""
    status = str(operation.status)
    name = events.PROGRESS if status == seen.status == Status.RUNNING else status
    retry = None if seen.has_retry else random.randint(*RETRY_MILLISECONDS)  # noqa: S311 no secret
    data = JSONRenderer().render(documents.describe(operation, links))
    event = events.event(name, data, id=operation.version, retry=retry)
    return event, tickets.Seen(operation.version, status, has_retry=True)


def _events(ticket: tickets.Stream, first: bytes, environ: dict[str, Any]) -> Iterator[bytes]:
    """The first event, then the later events if a thread is free to wait for them."""
    with slots.slot(ticket.caller) as is_free:
        yield first
        if is_free and slots.release_connections():
            yield from _later_events(ticket, environ)


def _later_events(ticket: tickets.Stream, environ: dict[str, Any]) -> Iterator[bytes]:
    operation, seen = ticket.operation, ticket.seen
    ask = partial(answers.ask_in_thread, environ, ticket.url)
    newer_versions: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def tell(row: Operation | None, shared: ticker.SharedAnswers) -> None:
        newer_versions.put(None if row is None else row.version)

    end = time.monotonic() + ticket.seconds
    with ticker.ticker.watching(ticker.Waiter(operation.pk, seen.version, tell)):
        while operation.status not in FINAL and (left := end - time.monotonic()) > 0:
            try:
                version = newer_versions.get(timeout=min(left, tickets.KEEP_ALIVE_SECONDS))
            except queue.Empty:
                yield events.KEEP_ALIVE_COMMENT
                continue
            if version is None:
                return
            if version > seen.version:
                answer, handover = ask(seen=seen)
                if answer.status_code not in (200, 204):
                    return
                if isinstance(handover.ticket, tickets.Stream):
                    operation, seen = handover.ticket.operation, handover.ticket.seen
                    yield answer.content  # type: ignore[attr-defined]
