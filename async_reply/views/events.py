"""Streams an operation's changes to its client, as server-sent events."""

from typing import Any

from django.http.response import HttpResponseBase
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from async_reply import documents
from async_reply.models import Operation
from async_reply.protocol import headers
from async_reply.status import Status
from async_reply.views.streams import StreamView, retry
from async_reply.waiting import events, tickets


class EventsView(StreamView):
    """GET: an event for the present state, then one for each change until the end."""

    wait_mode = "always"

    def get(self, request: Request, id: str, **kwargs: Any) -> HttpResponseBase:
        return self.answer_stream(request)

    def get_seen(self, operation: Operation) -> tickets.Seen:
        return tickets.Seen(headers.last_event_id(self.last_event_id))

    def get_part(
        self, operation: Operation, links: dict[str, str], seen: tickets.Seen
    ) -> tuple[bytes, tickets.Seen]:
        return _event(operation, links, seen)


def _event(
    operation: Operation, links: dict[str, str], seen: tickets.Seen
) -> tuple[bytes, tickets.Seen]:
    """The event for a client that has `seen` earlier ones, and what the client has seen then."""
    status = str(operation.status)
    name = events.PROGRESS if status == seen.status == Status.RUNNING else status
    data = JSONRenderer().render(documents.describe(operation, links))
    event = events.event(name, data, id=operation.version, retry=retry(seen))
    return event, tickets.Seen(operation.version, status, has_retry=True)
