"""Describes submit views and operations' views to drf-spectacular, for the OpenAPI schema.

Needs the extra `spectacular`. Import this module in the URLconf: drf-spectacular then finds the
classes here by itself.
"""

from typing import Any, Final

from drf_spectacular.extensions import OpenApiViewExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    extend_schema_view,
)
from rest_framework import serializers

from async_reply.protocol import headers, problems
from async_reply.status import Status
from async_reply.views.lists import FilterSerializer

HEADER: Final = "header"
PATH: Final = "path"
QUERY: Final = "query"


class OperationLinksSerializer(serializers.Serializer[Any]):
    self = serializers.URLField()
    monitor = serializers.URLField()
    result = serializers.URLField()
    cancel = serializers.URLField(required=False)
    events = serializers.URLField(required=False)


class OperationReceiptSerializer(serializers.Serializer[Any]):
    """The body of a submit's 202. Each replay of the idempotency key gets the same body."""

    id = serializers.UUIDField()
    kind = serializers.CharField()
    status = serializers.CharField(help_text='Always "pending".')
    created_at = serializers.DateTimeField()
    links = OperationLinksSerializer()


class ProblemSerializer(serializers.Serializer[Any]):
    """A problem document (RFC 9457); `errors` names the invalid fields of a request."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField(allow_blank=True)
    code = serializers.CharField(required=False)
    message = serializers.CharField(required=False)
    errors = serializers.JSONField(required=False)  # type: ignore[assignment]  # its own name


class OperationSerializer(serializers.Serializer[Any]):
    """An operation as it is now."""

    id = serializers.UUIDField()
    kind = serializers.CharField()
    status = serializers.CharField(help_text=f"One of {', '.join(Status.values)}.")
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    updated_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True)
    progress = serializers.IntegerField(min_value=0, max_value=100, allow_null=True)
    message = serializers.CharField(allow_blank=True)
    eta_seconds = serializers.FloatField(allow_null=True)
    attempt = serializers.IntegerField(min_value=0)
    links = OperationLinksSerializer()
    queue_position = serializers.IntegerField(required=False, help_text="While pending.")
    resourceLocation = serializers.URLField(required=False, help_text="Once succeeded.")  # noqa: N815
    error = ProblemSerializer(required=False, help_text="Once failed or canceled.")


class OperationPageSerializer(serializers.Serializer[Any]):
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = OperationSerializer(many=True)


ID = OpenApiParameter("id", OpenApiTypes.UUID, PATH)
SIG = OpenApiParameter("sig", str, QUERY, description="A valet key, instead of credentials.")
IF_NONE_MATCH = OpenApiParameter(headers.IF_NONE_MATCH, str, HEADER)
PREFER = OpenApiParameter(
    headers.PREFER, str, HEADER, description="RFC 7240: respond-async, wait=N."
)
#: The schema of a bare idempotency key. The views take a quoted key as well.
KEY = {"type": "string", "pattern": "^[!#-~][!-~]*$", "maxLength": 255}
PAGES = (
    OpenApiParameter("cursor", str, QUERY),
    OpenApiParameter("page_size", int, QUERY),
)


def field(
    name: str, type_: Any, description: str, *statuses: int, always: bool = False
) -> OpenApiParameter:
    """A header field of the answers with these statuses."""
    return OpenApiParameter(
        name, type_, HEADER, description=description, response=list(statuses), required=always
    )


def refusals(*statuses: int) -> dict[Any, Any]:
    """The responses of errors, which are problem documents."""
    return {(status, problems.MEDIA_TYPE): ProblemSerializer for status in statuses}


#: Errors of every view of operations: 429 by POLL_RATE, 503 when the database is away.
COMMON = (401, 403, 404, 410, 429, 503)
RETRY_ACCEPTED = field(headers.RETRY_AFTER, int, "Seconds until the next request.", 202, 429, 503)
RETRY_UNFINISHED = field(
    headers.RETRY_AFTER, int, "Seconds until the next poll, while unfinished.", 200, 202, 304
)
RETRY_ERROR = field(headers.RETRY_AFTER, int, "Seconds until the next request.", 429, 503)
LINK = field(headers.LINK, str, "RFC 8288: monitor and result.", 200, 202, 302)
ETAG = field(headers.ETAG, str, "The version of the operation.", 200, 304)
NOT_MODIFIED = OpenApiResponse(description="The client has this version.")


def poll(*others: OpenApiParameter, **options: Any) -> Any:
    """The schema of a poll, with further parameters."""
    conditions = [ID, SIG, IF_NONE_MATCH, PREFER]
    fields = [RETRY_UNFINISHED, RETRY_ERROR, LINK, ETAG, *others]
    return extend_schema(parameters=[*conditions, *fields], **options)


def cancel(*others: int, deletes: bool, **options: Any) -> Any:
    """The schema of a cancel. With `deletes` a finished operation is deleted instead."""
    responses = {
        200: OpenApiResponse(OperationSerializer, description="It is canceled."),
        202: OpenApiResponse(OperationSerializer, description="It is asked to stop."),
        **({204: OpenApiResponse(description="It is deleted.")} if deletes else {}),
        **refusals(409, *others, *COMMON),
    }
    parameters = [ID, SIG, RETRY_UNFINISHED, RETRY_ERROR, LINK]
    return extend_schema(request=None, responses=responses, parameters=parameters, **options)


class SubmitExtension(OpenApiViewExtension):
    """POST of a LongRunningOperationView: the 202, or the result for a client that waited."""

    target_class = "async_reply.views.submit.LongRunningOperationView"
    match_subclasses = True

    def view_replacement(self) -> Any:
        view = self.target
        key = OpenApiParameter(
            headers.IDEMPOTENCY_KEY, KEY, HEADER, required=view.idempotency_key_required
        )
        monitors = [field(name, str, "The monitor URL.", 202) for name in view.operation_headers]
        responses: dict[Any, Any] = {
            202: OpenApiResponse(OperationReceiptSerializer, description="The operation exists."),
            **refusals(400, 401, 403, 404, 406, 409, 410, 413, 415, 422, 429, 503),
        }
        if view.result_serializer_class is not None:
            # The answer to `Prefer: wait`. The result URL gives the same.
            responses[view.result_status] = view.result_serializer_class
        schema = extend_schema(
            parameters=[
                key, PREFER, RETRY_ACCEPTED, *monitors,
                field(headers.LOCATION, str, "The status URL, or the result's.", 202, always=True),
                field(headers.OPERATION_ID, str, "The operation's id.", 202, always=True),
                field(headers.IDEMPOTENT_REPLAYED, str, "The key was used before.", 202),
                field(headers.PREFERENCE_APPLIED, str, "RFC 7240.", view.result_status, 202),
                field(headers.CONTENT_LOCATION, str, "The result URL.", view.result_status),
            ],
            responses=responses,
        )  # fmt: skip
        return with_schemas(view, post=schema)


class StatusExtension(OpenApiViewExtension):
    target_class = "async_reply.views.operations.StatusView"

    def view_replacement(self) -> Any:
        location = field(headers.LOCATION, str, "The result URL.", 302, always=True)
        get = poll(
            location,
            operation_id="operation_status",
            responses={
                200: OpenApiResponse(OperationSerializer, description="Unfinished."),
                302: OpenApiResponse(OperationSerializer, description="Finished: see the result."),
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


class CancelExtension(OpenApiViewExtension):
    target_class = "async_reply.views.operations.CancelView"

    def view_replacement(self) -> Any:
        return with_schemas(
            self.target, post=cancel(400, 415, deletes=False, operation_id="operation_cancel")
        )


class ListExtension(OpenApiViewExtension):
    target_class = "async_reply.views.lists.ListView"

    def view_replacement(self) -> Any:
        get = extend_schema(
            operation_id="operation_list",
            parameters=[FilterSerializer, *PAGES, RETRY_ERROR],
            responses={200: OperationPageSerializer, **refusals(400, 401, 403, 404, 429, 503)},
        )
        return with_schemas(self.target, get=get)


def with_schemas(view: Any, **methods: Any) -> Any:
    """A subclass of the view with these schemas.

    The subclass has the view's name and module, from which drf-spectacular derives other names.
    """
    members = {"__doc__": view.__doc__, "__module__": view.__module__}
    return extend_schema_view(**methods)(type(view.__name__, (view,), members))
