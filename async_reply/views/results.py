"""The view that answers with the result: JSON, a file, or a redirect to another resource."""

from typing import Any

from django.http import HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import NoReverseMatch
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
from async_reply.views.operations import OperationView, expiry, redirect_status
from async_reply.waiting import tickets


class ResultView(OperationView):
    """GET: the result; 202 while the operation is unfinished, a 4xx problem when it has failed.

    DELETE does the same as on the status URL, for clients that know the result URL only.
    """

    def get_queryset(self) -> OperationQuerySet:
        return super().get_queryset().select_related("result__file")

    def check_download(self) -> None:
        """Apply the throttles of downloads: a result may be large, so reading it is no poll."""
        self.polls = False
        self.check_throttles(self.request)

    def get(self, request: Request, id: str, **kwargs: Any) -> HttpResponseBase:
        operation = self.get_object()
        if operation.status not in FINAL:
            answer = self.answer(operation, status=202)
            answer[headers.LOCATION] = answer.data["links"]["result"]
            return answer
        self.check_download()
        if operation.status == Status.SUCCEEDED:
            response = self.answer_result(operation, operation.result)
        else:
            response = _refuse(problems.in_order(operation.error or {"status": 409}))
        response[headers.CACHE_CONTROL] = headers.PRIVATE
        response[headers.LINK] = related(self.get_links(operation))
        for name, value in expiry(operation).items():
            response[name] = value
        # A submit that waited passes on this answer, and never the answer of a middleware.
        tickets.of(request).is_result = True
        return response

    def delete(self, request: Request, id: str, **kwargs: Any) -> Response:
        return self.cancel_or_delete(self.get_object())

    def answer_result(self, operation: Operation, result: OperationResult) -> HttpResponseBase:
        if result.file is not None:
            response = self.answer_file(operation, result.file)
        elif result.location is not None:
            response = self.answer_elsewhere(operation, result.location)
        else:
            status = operation.reply.get("status", 200)
            if result.value is None and status == 200:
                status = 204
            # A 204 has no body (RFC 9110, section 15.3.5), so the returned value is left out.
            response = Response(None if status == 204 else result.value, status)
        for name, value in result.headers.items():
            response[name] = value
        return response

    def answer_file(self, operation: Operation, row: OperationFile) -> HttpResponseBase:
        """The file itself, or a redirect to the URL at which its storage serves the file."""
        url = downloads.signed_url(operation, row, method=self.request.method or "GET")
        if url is not None:
            return _redirect(operation, url)
        try:
            return downloads.serve(self.request._request, row)  # noqa: SLF001 what DRF wraps
        except StorageFailed:
            # The operation may have been purged after we read its row, and its file with it. Then
            # this raises a 404 or 410.
            self.get_object()
            raise

    def answer_elsewhere(self, operation: Operation, location: dict[str, Any]) -> HttpResponseBase:
        """A redirect; 409 when the URL or the host exists no more, so that no client retries."""
        try:
            return _redirect(operation, self.locate(location))
        except (NoReverseMatch, ValueError):
            text = "Operation id=%s kind=%s the URL of its result exists no more"
            logger.exception(text, operation.pk, operation.kind)
            detail = "The resource that the operation made has no URL any more."
            return _refuse(problems.problem(409, detail, name="result-unreachable"))

    def locate(self, location: dict[str, Any]) -> str:
        """The present URL of a result elsewhere.

        Raises NoReverseMatch for a lost route, ValueError for a host that is not allowed any more.
        """
        if "url" in location:
            return results.check_redirect(location["url"])
        args, kwargs = location["args"] or None, location["kwargs"] or None
        url: str = reverse(location["route"], args=args, kwargs=kwargs, request=self.request)
        return url


def _refuse(problem: dict[str, Any]) -> Response:
    response = Response(problem, problem["status"])
    response.exception = True
    return response


def _redirect(operation: Operation, url: str) -> HttpResponseBase:
    response = HttpResponseRedirect(url)
    response.status_code = redirect_status(operation)
    return response
