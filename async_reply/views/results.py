"""The result of an operation: JSON, a file, or a redirect to another resource."""

from typing import Any

from django.http import HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import NoReverseMatch
from django.utils.http import http_date
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from async_reply.attempts import results
from async_reply.exceptions import StorageFailed
from async_reply.logs import logger
from async_reply.models import Operation, OperationFile, OperationResult
from async_reply.protocol import headers, problems
from async_reply.querysets import OperationQuerySet
from async_reply.responses import related
from async_reply.status import FINAL, Status
from async_reply.views import downloads
from async_reply.views.operations import OperationView
from async_reply.waiting import tickets


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
        tickets.found(request).replied = True
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
            return results.check_redirect(location["url"])
        args, kwargs = location["args"] or None, location["kwargs"] or None
        made: str = reverse(location["route"], args=args, kwargs=kwargs, request=self.request)
        return made


def _refuse(problem: dict[str, Any]) -> Response:
    response = Response(problem, problem["status"])
    response.exception = True
    return response


def _redirect(operation: Operation, url: str) -> HttpResponseBase:
    response = HttpResponseRedirect(url)
    response.status_code = operation.reply.get("redirect_status", 302)
    return response
