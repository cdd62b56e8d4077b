"""The answers of our views: the 202, and problem documents for every error."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.http import UnreadablePostError
from rest_framework import exceptions as drf
from rest_framework import status as http
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.views import exception_handler as drf_exception_handler
from rest_framework.views import set_rollback

from async_reply import documents, exceptions
from async_reply.database import errors, schema
from async_reply.estimates import forecasts
from async_reply.logs import logger
from async_reply.models import Operation
from async_reply.protocol import headers, problems

RESULT_RELATION = "urn:link-relation:async-reply/result"

# Our own errors: the exception, the status it becomes and the name of its problem.
PROBLEMS: dict[type[exceptions.AsyncReplyError], tuple[int, str | None]] = {
    exceptions.PayloadTooLarge: (413, None),
    exceptions.PayloadError: (400, None),
    exceptions.QuotaExceeded: (429, "quota-exceeded"),
    exceptions.KeyMalformed: (400, "idempotency-key-invalid"),
    exceptions.KeyMissing: (400, "idempotency-key-required"),
    exceptions.KeyReused: (422, "idempotency-key-reused"),
    exceptions.OperationGone: (410, "operation-expired"),
    exceptions.AlreadyFinished: (409, "operation-finished"),
    exceptions.NotFinished: (409, "operation-unfinished"),
    exceptions.NotCancelable: (409, "operation-not-cancelable"),
    exceptions.StorageFailed: (503, "storage-unavailable"),
}
# Statuses that ask the client to come back, with the seconds until then.
COME_BACK = {429: "5", 503: "5"}
# Formats of REST framework's renderers that make pages.
PAGES = frozenset({"html", "api", "admin"})
# In the context of an exception handler: the project's is being asked already.
ASKED = "async_reply.asked"


class ProblemRenderer(JSONRenderer):
    """RFC 9457."""

    media_type = problems.MEDIA_TYPE
    format = "problem"


def render_as_problem(response: Response) -> None:
    """Have an error rendered as a problem document, unless its client is shown pages."""
    if response.accepted_renderer.format not in PAGES:
        response.accepted_renderer = ProblemRenderer()
        response.accepted_media_type = problems.MEDIA_TYPE


class Refusal(Response):
    """A problem document out of a view whose other errors are the project's."""

    @property
    def rendered_content(self) -> Any:
        render_as_problem(self)
        return super().rendered_content


class OperationAccepted(Response):
    """202: the operation exists. Location and Retry-After come with it."""

    def __init__(
        self,
        operation: Operation,
        request: Request,
        *,
        location: str = "status",
        monitors: tuple[str, ...] = ("Operation-Location",),
        extra: Mapping[str, str] | None = None,
    ) -> None:
        body = documents.receipt(operation, request)
        fields = {
            "Location": body["links"]["result" if location == "result" else "self"],
            "Operation-Id": str(operation.pk),
            "Retry-After": str(forecasts.retry_after_submit(operation)),
            "Cache-Control": headers.PRIVATE,
            "Link": related(body["links"]),
            **dict.fromkeys(monitors, body["links"]["monitor"]),
            **(extra or {}),
        }
        super().__init__(body, status=http.HTTP_202_ACCEPTED, headers=fields)


class SeeResult(Response):
    """302 or 303 to the result, with the document; `url` as Django's own redirects have it."""

    @property
    def url(self) -> str:
        return self["Location"]


def related(links: Mapping[str, str]) -> str:
    """The Link field every answer about an operation carries."""
    return headers.link({"monitor": links["self"], RESULT_RELATION: links["result"]})


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Every error of our views as a problem document; None for what is a defect of the server.

    What neither we nor REST framework know is asked of the project's EXCEPTION_HANDLER, which may
    also call this one, or be it: of other views it changes the answers to our own errors only.
    """
    is_ours = getattr(context.get("view"), "answers_problems", False)
    found = _own(error)
    if found is None and not is_ours:
        return drf_exception_handler(error, context)
    found = found or _outside(error) or _of_framework(error, context)
    return None if found is None else _finished(found)


def refusal(error: Exception, *, rolls_back: bool = True) -> Response | None:
    """The answer to an error of ours, or of the database, in a view of the project's.

    None for every other error: the project's own exception handler answers those.
    """
    found = _own(error) or _outside(error)
    if found is None:
        return None
    refused = Refusal(found.data, found.status_code, exception=True)
    return _finished(refused, rolls_back=rolls_back)


def _finished(response: Response, *, rolls_back: bool = True) -> Response:
    if rolls_back:
        # As REST framework does for its own errors: under ATOMIC_REQUESTS nothing is kept.
        set_rollback()
    response["Cache-Control"] = headers.PRIVATE
    _come_back(response)
    return response


def _come_back(response: Response) -> None:
    """Say when, wherever the client is to come back; a throttle may not know, or say 0."""
    told = response.get("Retry-After", "0")
    if response.status_code in COME_BACK and not (told.isdigit() and int(told)):
        response["Retry-After"] = COME_BACK[response.status_code]


def _own(error: Exception) -> Response | None:
    if isinstance(error, exceptions.UnknownType):
        return None  # a defect of the project
    for known, (status, name) in PROBLEMS.items():
        if isinstance(error, known):
            if status >= http.HTTP_500_INTERNAL_SERVER_ERROR:
                logger.error("%s", error, exc_info=error)
            return Response(problems.problem(status, str(error), name=name), status)
    return None


def _outside(error: Exception) -> Response | None:
    """What Django and the database raise around a view."""
    if errors.is_temporary(error) or schema.is_behind(error):
        told = schema.REMEDY if schema.is_behind(error) else "Database not available"
        logger.error(told, exc_info=error)
        body = problems.problem(
            503, "The database cannot be reached: try again.", name="database-unavailable"
        )
        return Response(body, 503)
    if isinstance(error, RequestDataTooBig):
        return Response(problems.problem(413, "The body is too large: send it as a file."), 413)
    if isinstance(error, SuspiciousOperation):
        return Response(problems.problem(400, "The request is malformed."), 400)
    if isinstance(error, UnreadablePostError):
        # The client went away in the middle of its body: nobody hears this, and nothing is wrong.
        return Response(problems.problem(400, "The body ended too early."), 400)
    if isinstance(error, RecursionError):
        return Response(problems.problem(400, "The body is nested too deep."), 400)
    return None


def _of_framework(error: Exception, context: dict[str, Any]) -> Response | None:
    response = drf_exception_handler(error, context) or _of_project(error, context)
    if response is None:
        return None
    status = response.status_code
    if isinstance(error, drf.ValidationError):
        response.data = problems.problem(status, problems.SEE_ERRORS, errors=response.data)
    else:
        detail, members = problems.split(response.data)
        detail = detail or str(getattr(error, "default_detail", ""))
        response.data = problems.problem(status, detail) | members
    return response


def _of_project(error: Exception, context: dict[str, Any]) -> Response | None:
    """What the project's own EXCEPTION_HANDLER answers, unless it is the one that asks."""
    if ASKED in context:
        return None
    theirs: Any = api_settings.EXCEPTION_HANDLER
    answer = theirs(error, {**context, ASKED: True})
    if answer is None or isinstance(answer, Response):
        return answer
    return Response(status=answer.status_code)
