"""Parameters, header fields and answers that several operations of the schema have."""

from typing import Any, Final

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    extend_schema_view,
)

from async_reply.contrib.spectacular.components import OperationSerializer, ProblemSerializer
from async_reply.protocol import headers, problems

HEADER: Final = "header"
PATH: Final = "path"
QUERY: Final = "query"

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


def with_schemas(view: Any, **methods: Any) -> Any:
    """A subclass of the view with these schemas.

    The subclass has the view's name and module, from which drf-spectacular derives other names.
    """
    members = {"__doc__": view.__doc__, "__module__": view.__module__}
    return extend_schema_view(**methods)(type(view.__name__, (view,), members))
