"""Describes the views of operations: status, monitor, result, events, log, cancel and list."""

from typing import Any

from drf_spectacular.extensions import OpenApiViewExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema

from async_reply.contrib.spectacular.answers import (
    COMMON,
    HEADER,
    ID,
    LINK,
    NOT_MODIFIED,
    PAGES,
    PATH,
    PREFER,
    RETRY_ACCEPTED,
    RETRY_ERROR,
    RETRY_UNFINISHED,
    SIG,
    cancel,
    field,
    poll,
    refusals,
    with_schemas,
)
from async_reply.contrib.spectacular.components import (
    AnsweredSerializer,
    LogPageSerializer,
    OperationPageSerializer,
    OperationSerializer,
    ProblemSerializer,
    QuestionSerializer,
)
from async_reply.protocol import headers, problems
from async_reply.views.lists import FilterSerializer
from async_reply.views.log import MAX_NUMBER


class StatusExtension(OpenApiViewExtension):
    target_class = "async_reply.views.operations.StatusView"

    def view_replacement(self) -> Any:
        location = field(headers.LOCATION, str, "The result URL.", 302, 303, always=True)
        get = poll(
            location,
            operation_id="operation_status",
            responses={
                200: OpenApiResponse(OperationSerializer, description="Unfinished."),
                302: OpenApiResponse(OperationSerializer, description="Finished: see the result."),
                303: OpenApiResponse(OperationSerializer, description="Finished: see the result."),
                304: NOT_MODIFIED,
                **refusals(*COMMON),
            },
        )
        delete = cancel(deletes=True, operation_id="operation_delete")
        return with_schemas(self.target, get=get, delete=delete)


class MonitorExtension(OpenApiViewExtension):
    target_class = "async_reply.views.operations.MonitorView"

    def view_replacement(self) -> Any:
        get = poll(
            operation_id="operation_monitor",
            responses={200: OperationSerializer, 304: NOT_MODIFIED, **refusals(*COMMON)},
        )
        return with_schemas(self.target, get=get)


class ResultExtension(OpenApiViewExtension):
    target_class = "async_reply.views.results.ResultView"

    def view_replacement(self) -> Any:
        anything = OpenApiResponse(OpenApiTypes.ANY, description="The result.")
        part = {"type": "string", "format": "binary"}
        get = extend_schema(
            operation_id="operation_result",
            parameters=[
                ID, SIG, PREFER, RETRY_ACCEPTED, LINK,
                OpenApiParameter(headers.RANGE, str, HEADER, description="Of a file."),
                field(headers.LOCATION, str, "This URL, or the resource's URL.", 202, 302, 303),
            ],
            responses={
                (200, "application/json"): anything,
                (200, "*/*"): OpenApiResponse(part, description="A file."),
                201: anything,
                202: OpenApiResponse(OperationSerializer, description="Unfinished."),
                204: OpenApiResponse(description="The job returned nothing."),
                (206, "*/*"): OpenApiResponse(part, description="A part of a file."),
                302: OpenApiResponse(description="The result is at another URL."),
                303: OpenApiResponse(description="The result is at another URL."),
                304: OpenApiResponse(description="The client has this file."),
                **refusals(*COMMON, 412, 416),
                ("4XX", problems.MEDIA_TYPE): OpenApiResponse(
                    ProblemSerializer, description="The job failed or was canceled."
                ),
            },
        )  # fmt: skip
        delete = cancel(deletes=True, operation_id="operation_result_delete")
        return with_schemas(self.target, get=get, delete=delete)


class EventsExtension(OpenApiViewExtension):
    target_class = "async_reply.views.events.EventsView"

    def view_replacement(self) -> Any:
        get = extend_schema(
            operation_id="operation_events",
            parameters=[
                ID,
                SIG,
                OpenApiParameter(headers.LAST_EVENT_ID, str, HEADER),
                RETRY_ERROR,
            ],
            responses={
                (200, headers.EVENT_STREAM): OpenApiResponse(str, description="Events."),
                204: OpenApiResponse(description="The client has seen the last event."),
                **refusals(*COMMON),
            },
        )
        return with_schemas(self.target, get=get)


class LogExtension(OpenApiViewExtension):
    target_class = "async_reply.views.log.LogView"

    def view_replacement(self) -> Any:
        text = "Answer with the events after this one."
        after = OpenApiParameter(
            "after", {"type": "integer", "minimum": 0, "maximum": MAX_NUMBER}, description=text
        )
        text = "Counts before `after`, in a stream."
        last_id = OpenApiParameter(headers.LAST_EVENT_ID, str, HEADER, description=text)
        get = extend_schema(
            operation_id="operation_log",
            parameters=[ID, SIG, after, last_id, PREFER, RETRY_UNFINISHED, RETRY_ERROR, LINK],
            responses={
                (200, "application/json"): LogPageSerializer,
                (200, headers.EVENT_STREAM): OpenApiResponse(str, description="Events."),
                204: OpenApiResponse(description="The client of a stream has seen the outcome."),
                **refusals(400, *COMMON),
            },
        )
        return with_schemas(self.target, get=get)


class CancelExtension(OpenApiViewExtension):
    target_class = "async_reply.views.operations.CancelView"

    def view_replacement(self) -> Any:
        return with_schemas(
            self.target, post=cancel(400, 415, deletes=False, operation_id="operation_cancel")
        )


class InputExtension(OpenApiViewExtension):
    target_class = "async_reply.views.inputs.InputView"

    def view_replacement(self) -> Any:
        parameters = [ID, OpenApiParameter("name", str, PATH), SIG, RETRY_ERROR]
        get = extend_schema(
            operation_id="operation_question",
            parameters=parameters,
            responses={
                200: OpenApiResponse(QuestionSerializer, description="The job asks."),
                (200, "text/html"): OpenApiResponse(str, description="A page with a form."),
                **refusals(409, *COMMON),
            },
        )
        post = extend_schema(
            operation_id="operation_answer",
            parameters=parameters,
            request={
                "application/json": OpenApiTypes.OBJECT,
                "application/x-www-form-urlencoded": OpenApiTypes.OBJECT,
            },
            responses={
                200: OpenApiResponse(AnsweredSerializer, description="The answer is stored."),
                **refusals(400, 409, 411, 413, 415, *COMMON),
            },
        )
        return with_schemas(self.target, get=get, post=post)


class ListExtension(OpenApiViewExtension):
    target_class = "async_reply.views.lists.ListView"

    def view_replacement(self) -> Any:
        get = extend_schema(
            operation_id="operation_list",
            parameters=[FilterSerializer, *PAGES, RETRY_ERROR],
            responses={200: OperationPageSerializer, **refusals(400, 401, 403, 404, 429, 503)},
        )
        return with_schemas(self.target, get=get)
