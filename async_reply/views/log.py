"""Answers with the log of an operation: what its job has emitted and logged, then the outcome."""

from dataclasses import dataclass, replace
from typing import Any, TypedDict

from django.http.response import HttpResponseBase
from rest_framework import exceptions as drf
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from async_reply import documents
from async_reply.estimates.forecasts import Forecast
from async_reply.models import Operation
from async_reply.protocol import headers
from async_reply.responses import related
from async_reply.services import event_pages
from async_reply.status import FINAL
from async_reply.stored_events import Event
from async_reply.views import waiting
from async_reply.views.operations import expiry
from async_reply.views.streams import StreamView, retry
from async_reply.waiting import events, tickets

#: The largest number of an event that the database can store.
MAX_NUMBER = 2**31 - 1


class ShownEvent(TypedDict):
    """An event as clients see it. The time of events that were removed is not known."""

    id: int
    event: str
    at: str | None
    data: Any


@dataclass(frozen=True)
class ShownPage:
    """A page of the log as clients see it, with the outcome after the last event."""

    events: list[ShownEvent]
    last: int
    is_cut: bool


class LogView(StreamView):
    """GET: a page of the events after `?after=`, or a stream of them for `text/event-stream`.

    The stream goes on with later events as they come. In both the outcome is the last event.
    """

    wait_mode = "if streamed or preferred"

    def get(self, request: Request, id: str, **kwargs: Any) -> HttpResponseBase:
        if headers.accepts_stream(request.headers.get(headers.ACCEPT, "")):
            return self.answer_stream(request)
        return self.answer_page(request)

    def answer_page(self, request: Request) -> HttpResponseBase:
        """The page as JSON. It waits while it is empty, if the client prefers to wait."""
        operation = self.get_object()
        forecast = Forecast(operation)
        links = self.get_links(operation, forecast=forecast)
        seen = tickets.Seen(events=_reached(operation, self.get_after()))
        page = _read(operation, links, seen)
        is_complete = operation.status in FINAL and not page.is_cut
        document = {"events": page.events, "last": page.last, "complete": is_complete}
        fields = {headers.CACHE_CONTROL: headers.PRIVATE, headers.LINK: related(links)}
        if not (is_complete or page.is_cut):
            fields[headers.RETRY_AFTER] = str(forecast.retry_after)
        response = Response(document, headers={**fields, **expiry(operation)})
        seconds = self.get_wait()
        if seconds is None or operation.status in FINAL or page.last > seen.number:
            return response
        url = request.build_absolute_uri()
        caller = self.get_caller()
        ticket = tickets.Wait(operation, seconds, caller, url, events=operation.events)
        return waiting.hold(request, ticket, response)

    def get_seen(self, operation: Operation) -> tickets.Seen:
        after = self.get_after()
        if self.last_event_id:
            after = headers.last_event_id(self.last_event_id)
        return tickets.Seen(events=_reached(operation, after))

    def get_part(
        self, operation: Operation, links: dict[str, str], seen: tickets.Seen
    ) -> tuple[bytes, tickets.Seen]:
        page = _read(operation, links, seen)
        body = b"".join(
            _as_sent(event, milliseconds=None if place else retry(seen))
            for place, event in enumerate(page.events)
        )
        return body, replace(seen, events=page.last, has_retry=seen.has_retry or bool(body))

    def get_after(self) -> int:
        """The number of the last event that the client has; 0 if it does not say."""
        text = self.request.GET.get("after", "0")
        try:
            number: int = serializers.IntegerField(
                min_value=0, max_value=MAX_NUMBER
            ).run_validation(text)
        except drf.ValidationError as error:
            raise drf.ValidationError({"after": error.detail}) from None
        return number


def _reached(operation: Operation, after: int) -> int:
    """`after`, or the number of the last event if there is no such event."""
    return min(after, tickets.Seen(events=0).newest(operation))


def _read(operation: Operation, links: dict[str, str], seen: tickets.Seen) -> ShownPage:
    page = event_pages.read(operation, seen.number)
    shown = [_shown(event) for event in page.events]
    if page.is_cut or operation.status not in FINAL:
        return ShownPage(shown, page.last, page.is_cut)
    outcome = operation.events + 1
    if seen.number < outcome:
        document = documents.describe(operation, links)
        name, at = str(operation.status), document["finished_at"]
        shown.append({"id": outcome, "event": name, "at": at, "data": document})
    return ShownPage(shown, outcome, is_cut=False)


def _shown(event: Event) -> ShownEvent:
    return {
        "id": event["id"],
        "event": event["event"],
        "at": event.get("at"),
        "data": event.get("data"),
    }


def _as_sent(event: ShownEvent, *, milliseconds: int | None) -> bytes:
    data = JSONRenderer().render(event["data"]) or b"null"
    return events.event(event["event"], data, id=event["id"], retry=milliseconds)
