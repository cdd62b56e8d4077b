"""Status, monitor, result, cancel and list: the URLs whose meaning never changes."""

from typing import Any, ClassVar

from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from async_reply import conf, documents, permissions, services
from async_reply.estimates import forecasts
from async_reply.exceptions import NotCancelable
from async_reply.models import Operation
from async_reply.protocol import headers
from async_reply.responses import SeeResult, related
from async_reply.services import cancellation
from async_reply.status import DELETABLE, FINAL
from async_reply.views import waiting
from async_reply.views.access import OperationMixin
from async_reply.waiting import callers, tickets

#: Seconds of a valet key that are left for the answer to who has waited by it.
ANSWER = 1.0


class OperationView(OperationMixin):
    """What the views of one operation answer with.

    Handlers ignore further parts of the URL: the version, where the project has it in the path.
    """

    #: Whether clients of this view wait: "never", "if preferred" or "always".
    parks: ClassVar[str] = "never"

    def get_caller(self) -> callers.Caller:
        """Whose places it takes while the request waits; that of a valet key is nobody."""
        owner = permissions.owner(self.request) if self.valet_key is None else ""
        return callers.caller(owner, tickets.address(self.request))

    def get_wait(self) -> int | None:
        """The answer comes while the valet key is good, which is asked once more for it."""
        seconds = waiting.wanted(self.request, most=conf.get("MAX_WAIT"))
        most = max(0.0, self.seconds_left - ANSWER)
        return None if seconds is None else int(min(seconds, most))

    def get_links(self, operation: Operation) -> dict[str, str]:
        may_cancel = self.may_cancel(operation)
        return documents.links(operation, self.request, held=self.valet_key, may_cancel=may_cancel)

    def get_headers(self, operation: Operation, links: dict[str, str]) -> dict[str, str]:
        fields = {"Cache-Control": headers.PRIVATE, "Link": related(links)}
        if operation.status not in FINAL:
            fields["Retry-After"] = str(forecasts.retry_after(operation))
        return fields

    def answer(self, operation: Operation, *, status: int = 200, **fields: str) -> Response:
        """The operation's document; `fields` are headers, underscores for hyphens."""
        body = documents.describe(operation, self.get_links(operation))
        response = Response(body, status, headers=self.get_headers(operation, body["links"]))
        for name, value in fields.items():
            response[name.replace("_", "-")] = value
        return response

    def answer_poll(self, operation: Operation) -> HttpResponseBase:
        """The document with its entity tag, or 304 where the client has this version.

        Held while it is unfinished, where the client prefers.
        """
        tag = headers.entity_tag(operation.version)
        condition = self.request.headers.get("If-None-Match", "")
        response = self.answer(operation, ETag=tag, Cache_Control=headers.POLLED)
        if headers.none_match(condition, tag):
            response.status_code = 304
            response.data = None
        seconds = self.get_wait()
        if operation.status in FINAL or seconds is None:
            return response
        url = self.request.build_absolute_uri()
        ticket = tickets.Wait(operation, seconds, self.get_caller(), url)
        return waiting.hold(self.request, ticket, response)

    def cancel(self, operation: Operation) -> Response:
        """Of a kind that cannot be canceled not even what waits: links and answer say the same."""
        if operation.status not in FINAL and not cancellation.is_cancelable(operation):
            raise NotCancelable("Operations of this kind cannot be canceled.")
        status = services.cancel(operation)
        return self.answer(operation, status=200 if status in FINAL else 202)

    def remove(self, operation: Operation) -> Response:
        """DELETE: cancels, and where there is nothing left to cancel, deletes."""
        if operation.status not in DELETABLE:
            return self.cancel(operation)
        services.delete(operation)
        return Response(status=204, headers={"Cache-Control": headers.PRIVATE})


class StatusView(OperationView):
    """200 while unfinished, then 302 to the result; DELETE cancels or deletes."""

    parks = "if preferred"

    def get(self, request: Request, id: str, **kwargs: Any) -> HttpResponseBase:
        operation = self.get_object()
        if operation.status not in FINAL:
            return self.answer_poll(operation)
        status = operation.reply.get("redirect_status", 302)
        body = documents.describe(operation, self.get_links(operation))
        fields = self.get_headers(operation, body["links"])
        return SeeResult(body, status, headers={**fields, "Location": body["links"]["result"]})

    def delete(self, request: Request, id: str, **kwargs: Any) -> Response:
        return self.remove(self.get_object())


class MonitorView(OperationView):
    """200 always: what clients of the Azure family poll."""

    parks = "if preferred"

    def get(self, request: Request, id: str, **kwargs: Any) -> HttpResponseBase:
        return self.answer_poll(self.get_object())


class CancelView(OperationView):
    """POST: 202 while the job is asked to stop, 200 once it is canceled, 409 when it is over."""

    def post(self, request: Request, id: str, **kwargs: Any) -> Response:
        return self.cancel(self.get_object())
