"""The views that answer status and monitor URLs, and cancel or delete an operation."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.http.response import HttpResponseBase
from django.utils.http import http_date
from rest_framework.request import Request
from rest_framework.response import Response

from async_reply import conf, documents, permissions, services
from async_reply.estimates.forecasts import Forecast
from async_reply.exceptions import NotCancelable
from async_reply.models import Operation
from async_reply.protocol import headers
from async_reply.responses import SeeResult, related
from async_reply.services import cancellation
from async_reply.status import DELETABLE, FINAL
from async_reply.views import waiting
from async_reply.views.access import SingleOperationMixin
from async_reply.waiting import callers, tickets

#: A client that waits by a valet key is answered so long before the key expires.
ANSWER_SECONDS = 1.0
#: Columns that no answer to a poll needs. A poll by a valet key takes 3 % more with them.
#: A project's queryset may select `rerun_of` along, which Django refuses for a deferred column.
NOT_POLLED = (
    *("retries", "max_retries", "losses", "max_losses", "total_retries", "total_losses"),
    *("idle_releases", "kept_events", "kept", "time_limit", "retention", "view", "input_files"),
    *("worker", "published_at", "publishes", "deadline_at", "give_up_at", "lease_expires_at"),
    *("purge_at", "idempotency_digest", "fingerprint", "traceparent", "commands"),
)


def expiry(operation: Operation) -> dict[str, str]:
    """The Expires field of a finished operation: the time of its purge (RFC 9110, section 5.6.7).

    Until then the operation has a result. Afterwards its URLs answer 410.
    """
    if operation.status not in FINAL or operation.expires_at is None:
        return {}
    return {headers.EXPIRES: http_date(operation.expires_at.timestamp())}


def redirect_status(operation: Operation) -> int:
    """The status by which the operation's view redirects; the project's for a submit without."""
    return int(operation.reply.get("redirect_status") or conf.get("REDIRECT_STATUS"))


class OperationView(SingleOperationMixin):
    """The answers that all views of one operation give.

    Handlers take and ignore further parts of the URL, such as the version of an API.
    """

    #: Whether clients of this view wait: "never", "if preferred", "if streamed or preferred" or
    #: "always".
    wait_mode: ClassVar[str] = "never"

    def get_deferred(self) -> tuple[str, ...]:
        deferred = super().get_deferred()
        return (*deferred, *NOT_POLLED) if self.request.method in ("GET", "HEAD") else deferred

    def get_caller(self) -> callers.Caller:
        """The caller in whose name the request waits. A valet key names no owner."""
        owner = permissions.owner(self.request) if self.valet_key is None else ""
        return callers.caller(owner, tickets.address(self.request))

    def get_wait(self) -> int | None:
        """Whole seconds that this request waits; None if it is answered at once.

        The answer comes before the valet key expires, because the key is checked again for it.
        """
        seconds = waiting.wanted(self.request, most=conf.get("MAX_WAIT"))
        most = max(0.0, self.seconds_left - ANSWER_SECONDS)
        return None if seconds is None else int(min(seconds, most))

    def get_links(
        self, operation: Operation, *, forecast: Forecast | None = None
    ) -> dict[str, str]:
        return documents.links(
            operation,
            self.request,
            held=self.valet_key,
            may_cancel=self.may_cancel(operation),
            forecast=forecast,
        )

    def get_document_and_fields(
        self, operation: Operation
    ) -> tuple[documents.Document, dict[str, str]]:
        """The operation's document and the header fields that belong to it, from one forecast."""
        forecast = Forecast(operation)
        links = self.get_links(operation, forecast=forecast)
        fields = {headers.CACHE_CONTROL: headers.PRIVATE, headers.LINK: related(links)}
        if operation.status not in FINAL:
            fields[headers.RETRY_AFTER] = str(forecast.retry_after)
        return documents.describe(operation, links, forecast=forecast), fields

    def answer(
        self, operation: Operation, *, status: int = 200, fields: Mapping[str, str] | None = None
    ) -> Response:
        """The operation's document, with further header `fields`."""
        document, own_fields = self.get_document_and_fields(operation)
        return Response(document, status, headers={**own_fields, **(fields or {})})

    def answer_poll(self, operation: Operation) -> HttpResponseBase:
        """The document with its entity tag, or 304 if the client has this version already.

        The answer waits while the operation is unfinished and asks nothing new, if the client
        prefers to wait.
        """
        tag = headers.entity_tag(operation.version)
        condition = self.request.headers.get(headers.IF_NONE_MATCH, "")
        fields = {headers.ETAG: tag, headers.CACHE_CONTROL: headers.POLLED, **expiry(operation)}
        response = self.answer(operation, fields=fields)
        is_known = headers.none_match(condition, tag)
        if is_known:
            response.status_code = 304
            response.data = None
        seconds = self.get_wait()
        if operation.status in FINAL or seconds is None:
            return response
        url = self.request.build_absolute_uri()
        known_version = operation.version if is_known else 0
        ticket = tickets.Wait(
            operation, seconds, self.get_caller(), url, known_version=known_version
        )
        return waiting.hold(self.request, ticket, response)

    def cancel(self, operation: Operation) -> Response:
        """200 for a canceled operation, 202 while its job is asked to stop; raises NotCancelable.

        The kind decides even for a pending operation. Links and answer thus say the same.
        """
        if operation.status not in FINAL and not cancellation.is_cancelable(operation):
            raise NotCancelable("Operations of this kind cannot be canceled.")
        status = services.cancel(operation)
        return self.answer(operation, status=200 if status in FINAL else 202)

    def cancel_or_delete(self, operation: Operation) -> Response:
        """The answer to a DELETE: 204 deletes an operation that succeeded or failed.

        Any other operation is canceled.
        """
        if operation.status not in DELETABLE:
            return self.cancel(operation)
        services.delete(operation)
        return Response(status=204, headers={headers.CACHE_CONTROL: headers.PRIVATE})


class StatusView(OperationView):
    """GET: 200 while unfinished, then 302 to the result. DELETE: cancels or deletes."""

    wait_mode = "if preferred"

    def get(self, request: Request, id: str, **kwargs: Any) -> HttpResponseBase:
        operation = self.get_object()
        if operation.status not in FINAL:
            return self.answer_poll(operation)
        document, fields = self.get_document_and_fields(operation)
        fields[headers.LOCATION] = document["links"]["result"]
        fields |= expiry(operation)
        return SeeResult(document, redirect_status(operation), headers=fields)

    def delete(self, request: Request, id: str, **kwargs: Any) -> Response:
        return self.cancel_or_delete(self.get_object())


class MonitorView(OperationView):
    """GET: always 200, for clients of the Azure family."""

    wait_mode = "if preferred"

    def get(self, request: Request, id: str, **kwargs: Any) -> HttpResponseBase:
        return self.answer_poll(self.get_object())


class CancelView(OperationView):
    """POST: 202 while the job is asked to stop, 200 when canceled, 409 when it has finished."""

    def post(self, request: Request, id: str, **kwargs: Any) -> Response:
        return self.cancel(self.get_object())
