"""Responses of our views: the 202 of a submit, and a problem document for each error."""

import json
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.http import UnreadablePostError
from rest_framework import exceptions as drf
from rest_framework import status as http
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.views import exception_handler as drf_exception_handler
from rest_framework.views import set_rollback

from async_reply import documents, exceptions
from async_reply.database import errors, schema
from async_reply.estimates.forecasts import Forecast
from async_reply.logs import logger
from async_reply.models import Operation
from async_reply.protocol import headers, problems

RESULT_RELATION = "urn:link-relation:async-reply/result"

#: Our exception -> the HTTP status and the name of the problem document.
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
    exceptions.NotAsked: (409, "not-asked"),
    exceptions.NotCancelable: (409, "operation-not-cancelable"),
    exceptions.StorageFailed: (503, "storage-unavailable"),
}
#: HTTP status that asks the client to come back -> the seconds until then.
RETRY_SECONDS = {429: "5", 503: "5"}
#: Formats of REST framework's renderers that make HTML pages.
PAGES = frozenset({"html", "api", "admin"})
#: A key in the context of an exception handler: the project's handler was called already.
PROJECT_WAS_ASKED = "async_reply.asked"


class EscapingRenderer(JSONRenderer):
    """Writes all that is not ASCII as escapes."""

    ensure_ascii = True


class ProblemRenderer(JSONRenderer):
    """Renders a problem document (RFC 9457).

    A JSON renderer of the project spells the names of fields under `errors` as in its other
    answers, for example in camel case. It is not used if it changes the members of RFC 9457.
    """

    media_type = problems.MEDIA_TYPE
    format = "problem"

    def __init__(self, renderer: BaseRenderer) -> None:
        self._renderer = renderer

    def render(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        own = self._renderer
        try:
            if own.media_type == JSONRenderer.media_type and type(own) is not JSONRenderer:
                text = own.render(data, *args, **kwargs)
                if _is_problem(text, data):
                    return text
            return super().render(data, *args, **kwargs)
        except UnicodeEncodeError:
            # Errors quote the client's text, which may hold half a surrogate pair.
            return EscapingRenderer().render(data, *args, **kwargs)


def _is_problem(text: Any, data: Any) -> bool:
    """Whether `text` is a JSON object with the same members of RFC 9457 as `data`."""
    try:
        rendered = json.loads(text)
        return all(rendered.get(name) == data.get(name) for name in problems.MEMBERS)
    except (AttributeError, TypeError, ValueError):
        return False


def render_as_problem(response: Response) -> None:
    """Render this error as a problem document, unless the client gets HTML pages."""
    if response.accepted_renderer.format not in PAGES:
        response.accepted_renderer = ProblemRenderer(response.accepted_renderer)
        response.accepted_media_type = problems.MEDIA_TYPE


class Refusal(Response):
    """A problem document in a view of the project, which answers its other errors itself."""

    @property
    def rendered_content(self) -> Any:
        render_as_problem(self)
        return super().rendered_content


class OperationAccepted(Response):
    """The 202 of a submit: the receipt, always with Location and Retry-After.

    `monitors` are the header fields that name the monitor URL. `extra` are further header fields.
    """

    def __init__(
        self,
        operation: Operation,
        request: Request,
        *,
        location: str = "status",
        monitors: tuple[str, ...] = (headers.OPERATION_LOCATION,),
        extra: Mapping[str, str] | None = None,
    ) -> None:
        forecast = Forecast(operation)
        body = documents.receipt(operation, request, forecast=forecast)
        fields = {
            headers.LOCATION: body["links"]["result" if location == "result" else "self"],
            headers.OPERATION_ID: str(operation.pk),
            headers.RETRY_AFTER: str(forecast.retry_after_or_guess),
            headers.CACHE_CONTROL: headers.PRIVATE,
            headers.LINK: related(body["links"]),
            **dict.fromkeys(monitors, body["links"]["monitor"]),
            **(extra or {}),
        }
        super().__init__(body, status=http.HTTP_202_ACCEPTED, headers=fields)


class SeeResult(Response):
    """A 302 or 303 to the result, with the operation's document as its body."""

    @property
    def url(self) -> str:
        """The target, under the name that Django's own redirects use."""
        return self[headers.LOCATION]


def related(links: Mapping[str, str]) -> str:
    """The value of the Link field, which each answer about an operation has."""
    return headers.link({"monitor": links["self"], RESULT_RELATION: links["result"]})


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """The answer to an error: a problem document (RFC 9457), or None for a defect of the server.

    In our own views every error becomes a problem document with `type`, `title`, `status` and
    `detail`; a validation error has `errors` besides. An error that neither we nor REST framework
    know goes to the project's EXCEPTION_HANDLER. A 429 or 503 has Retry-After in whole seconds
    (RFC 9110, section 10.2.3).

    A project's EXCEPTION_HANDLER may call this function, or be this function. In views of the
    project this function answers our own exceptions; REST framework's handler answers all others.
    """
    is_our_view = getattr(context.get("view"), "_answers_problems", False)
    response = _from_our_error(error)
    if response is None and not is_our_view:
        return drf_exception_handler(error, context)
    response = response or _from_environment_error(error) or _from_framework_error(error, context)
    return None if response is None else _finished(response)


def refusal(error: Exception, *, rolls_back: bool = True) -> Response | None:
    """The answer of a project's view to one of our errors, or to an error of the database.

    None for every other error: the project's own exception handler answers it. `rolls_back`
    says whether the transaction of ATOMIC_REQUESTS is rolled back.
    """
    response = _from_our_error(error) or _from_environment_error(error)
    if response is None:
        return None
    answer = Refusal(response.data, response.status_code, exception=True)
    return _finished(answer, rolls_back=rolls_back)


def _finished(response: Response, *, rolls_back: bool = True) -> Response:
    if rolls_back:
        # REST framework does the same for its errors: ATOMIC_REQUESTS then keeps no writes.
        set_rollback()
    response[headers.CACHE_CONTROL] = headers.PRIVATE
    _ensure_retry_after(response)
    return response


def _ensure_retry_after(response: Response) -> None:
    """Add Retry-After to a 429 or 503. A throttle may have set none, or 0."""
    field = response.get(headers.RETRY_AFTER, "0")
    is_positive = field.isdigit() and int(field) > 0
    if response.status_code in RETRY_SECONDS and not is_positive:
        response[headers.RETRY_AFTER] = RETRY_SECONDS[response.status_code]


def _from_our_error(error: Exception) -> Response | None:
    if isinstance(error, exceptions.UnknownType):
        return None  # a defect of the project
    for cls, (status, name) in PROBLEMS.items():
        if isinstance(error, cls):
            if status >= http.HTTP_500_INTERNAL_SERVER_ERROR:
                logger.error("%s", error, exc_info=error)
            return Response(problems.problem(status, str(error), name=name), status)
    return None


def _from_environment_error(error: Exception) -> Response | None:
    """The answer to an error that Django or the database raises around a view."""
    if errors.is_temporary(error) or schema.is_behind(error):
        text = schema.REMEDY if schema.is_behind(error) else "Database not available"
        logger.error(text, exc_info=error)
        body = problems.problem(
            503, "The database cannot be reached: try again.", name="database-unavailable"
        )
        return Response(body, 503)
    if isinstance(error, RequestDataTooBig):
        return Response(problems.problem(413, "The body is too large: send it as a file."), 413)
    if isinstance(error, SuspiciousOperation):
        return Response(problems.problem(400, "The request is malformed."), 400)
    if isinstance(error, UnreadablePostError):
        # The client left while it sent the body. Nobody reads this answer, and nothing is broken.
        return Response(problems.problem(400, "The body ended too early."), 400)
    if isinstance(error, RecursionError):
        return Response(problems.problem(400, "The body is nested too deep."), 400)
    return None


def _from_framework_error(error: Exception, context: dict[str, Any]) -> Response | None:
    response = drf_exception_handler(error, context) or _from_project(error, context)
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


def _from_project(error: Exception, context: dict[str, Any]) -> Response | None:
    """The answer of the project's EXCEPTION_HANDLER; None when that handler is calling us."""
    if PROJECT_WAS_ASKED in context:
        return None
    project_handler: Any = api_settings.EXCEPTION_HANDLER
    answer = project_handler(error, {**context, PROJECT_WAS_ASKED: True})
    if answer is None or isinstance(answer, Response):
        return answer
    return Response(status=answer.status_code)
