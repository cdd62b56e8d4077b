"""Status, monitor, result, cancel and list: the URLs whose meaning never changes."""

import logging
from typing import Any, ClassVar

from django.http import HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import NoReverseMatch
from django.utils import timezone
from django.utils.http import http_date
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from async_reply import (
    callers,
    conf,
    documents,
    forecasts,
    headers,
    parking,
    permissions,
    problems,
    results,
    services,
)
from async_reply.exceptions import NotCancelable, StorageFailed
from async_reply.models import Operation, OperationFile, OperationResult
from async_reply.querysets import OperationQuerySet
from async_reply.responses import SeeResult, related
from async_reply.status import FINAL, Status
from async_reply.views import downloads, waiting
from async_reply.views.access import OperationMixin, OperationsMixin
from async_reply.views.lists import OperationFilter, OperationPagination

logger = logging.getLogger("async_reply")

#: Seconds of a valet key that are left for the answer to who has waited by it.
ANSWER = 1.0

SUCCESSFUL = frozenset({Status.SUCCEEDED, Status.FAILED})


class OperationView(OperationMixin):
    """What the views of one operation answer with.

    Handlers ignore further parts of the URL: the version, where the project has it in the path.
    """

    #: Whether clients of this view wait: "never", "if preferred" or "always".
    parks: ClassVar[str] = "never"

    def get_caller(self) -> callers.Caller:
        """Whose places it takes while the request waits; that of a valet key is nobody."""
        owner = permissions.owner(self.request) if self.valet_key is None else ""
        return callers.caller(owner, parking.address(self.request))

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
        ticket = parking.Wait(operation, seconds, self.get_caller(), url)
        return waiting.hold(self.request, ticket, response)

    def cancel(self, operation: Operation) -> Response:
        """Of a kind that cannot be canceled not even what waits: links and answer say the same."""
        if operation.status not in FINAL and not services.is_cancelable(operation):
            raise NotCancelable("Operations of this kind cannot be canceled.")
        status = services.cancel(operation)
        return self.answer(operation, status=200 if status in FINAL else 202)

    def remove(self, operation: Operation) -> Response:
        """DELETE: cancels, and where there is nothing left to cancel, deletes."""
        if operation.status not in SUCCESSFUL:
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


class ResultView(OperationView):
    """The reply itself; 202 while there is none, a 4xx problem when there never will be.

    DELETE as on the status URL, for clients that were handed this one alone.
    """

    def get_queryset(self) -> OperationQuerySet:
        return super().get_queryset().select_related("result__file")

    def check_download(self) -> None:
        """Count what is no poll any more: the result is there, and may be large."""
        self.polls = False
        self.check_throttles(self.request)

    def get(self, request: Request, id: str, **kwargs: Any) -> HttpResponseBase:
        operation = self.get_object()
        if operation.status not in FINAL:
            answer = self.answer(operation, status=202)
            answer["Location"] = answer.data["links"]["result"]
            return answer
        self.check_download()
        if operation.status == Status.SUCCEEDED:
            response = self.get_reply(operation, operation.result)
        else:
            response = _refuse(problems.in_order(operation.error or {"status": 409}))
        response["Cache-Control"] = headers.PRIVATE
        response["Link"] = related(self.get_links(operation))
        if operation.expires_at is not None:
            response["Expires"] = http_date(operation.expires_at.timestamp())
        # A submit that waits is answered by this, and by nothing else in its place.
        parking.found(request).replied = True
        return response

    def delete(self, request: Request, id: str, **kwargs: Any) -> Response:
        return self.remove(self.get_object())

    def get_reply(self, operation: Operation, result: OperationResult) -> HttpResponseBase:
        if result.file is not None:
            response = self.get_file(operation, result.file)
        elif result.location is not None:
            response = self.get_elsewhere(operation, result.location)
        else:
            status = operation.reply.get("status", 200)
            if result.value is None and status == 200:
                status = 204
            # 204 has no body (RFC 9110, section 15.3.5), whatever the job returned.
            response = Response(None if status == 204 else result.value, status)
        for name, value in result.headers.items():
            response[name] = value
        return response

    def get_file(self, operation: Operation, row: OperationFile) -> HttpResponseBase:
        """The file itself, or a redirect to where its storage serves it."""
        url = downloads.signed_url(operation, row, method=self.request.method or "GET")
        if url is not None:
            return _redirect(operation, url)
        try:
            return downloads.serve(self.request._request, row)  # noqa: SLF001 what DRF wraps
        except StorageFailed:
            # Its bytes may have gone since the row was read: with the operation.
            self.get_object()
            raise

    def get_elsewhere(self, operation: Operation, location: dict[str, Any]) -> HttpResponseBase:
        """A redirect; a problem that none retries where there is no such URL or host now."""
        try:
            return _redirect(operation, self.locate(location))
        except (NoReverseMatch, ValueError):
            text = "Operation id=%s kind=%s its result has no URL any more"
            logger.exception(text, operation.pk, operation.kind)
            detail = "The resource that the operation made has no address any more."
            return _refuse(problems.problem(409, detail, name="result-unreachable"))

    def locate(self, location: dict[str, Any]) -> str:
        """Where a result that lies elsewhere is now; ValueError where nobody is sent any more."""
        if "url" in location:
            return results.allowed(location["url"])
        args, kwargs = location["args"] or None, location["kwargs"] or None
        made: str = reverse(location["route"], args=args, kwargs=kwargs, request=self.request)
        return made


class ListView(OperationsMixin):
    """The caller's operations, newest first, by cursor."""

    polls = False

    def get(self, request: Request, **kwargs: Any) -> Response:
        queryset = OperationFilter(request.query_params).apply(self.get_queryset())
        live = queryset.filter(deleted_at=None).exclude(expires_at__lte=timezone.now())
        pagination = OperationPagination()
        page = pagination.paginate_queryset(live, request, view=self)
        found = [
            documents.document(operation, request, may_cancel=self.may_cancel(operation))
            for operation in page or []
        ]
        response = pagination.get_paginated_response(found)
        response["Cache-Control"] = headers.PRIVATE
        return response


def _refuse(problem: dict[str, Any]) -> Response:
    response = Response(problem, problem["status"])
    response.exception = True
    return response


def _redirect(operation: Operation, url: str) -> HttpResponseBase:
    response = HttpResponseRedirect(url)
    response.status_code = operation.reply.get("redirect_status", 302)
    return response
