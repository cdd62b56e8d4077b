"""Describes the views and actions that submit: the 202 with its headers, problems and links."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from drf_spectacular.extensions import OpenApiViewExtension
from drf_spectacular.utils import (
    OpenApiCallback,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
)
from rest_framework.fields import empty

from async_reply.contrib.spectacular.answers import (
    HEADER,
    KEY,
    PREFER,
    RETRY_ACCEPTED,
    field,
    refusals,
    with_schemas,
)
from async_reply.contrib.spectacular.components import (
    OperationReceiptSerializer,
    WebhookMessageSerializer,
)
from async_reply.contrib.webhooks import events
from async_reply.protocol import headers
from async_reply.views import callbacks

F = TypeVar("F", bound=Callable[..., Any])

#: The attribute of a method that `submits` has marked.
MARK = "async_reply_submits"
#: The operations to which a 202 leads: name -> operationId. Each takes the id in the body.
LINKS = {
    "status": "operation_status",
    "monitor": "operation_monitor",
    "result": "operation_result",
    "cancel": "operation_cancel",
    "events": "operation_events",
    "log": "operation_log",
}
#: Errors of `submit` that are problem documents in every view.
OUR_ERRORS = (400, 410, 411, 413, 422, 429, 503)
#: Errors of a LongRunningOperationView, where all are problem documents.
ERRORS = (400, 401, 403, 404, 406, 409, 410, 411, 413, 415, 422, 429, 503)


#: The members of a body that name a callback (`webhook = True`).
CALLBACK_MEMBERS = {
    "type": "object",
    "properties": {
        callbacks.URL: {"type": "string", "format": "uri"},
        callbacks.EVENTS: {"type": "array", "items": {"type": "string", "enum": list(events.ALL)}},
    },
}
#: The request to that URL (OpenAPI 3.0.3, "Callback Object").
CALLBACK = OpenApiCallback(
    "operation",
    f"{{$request.body#/{callbacks.URL}}}",
    extend_schema(
        summary="Tells of the operation, signed by Standard Webhooks.",
        request={"application/json": WebhookMessageSerializer},
        responses={
            "2XX": OpenApiResponse(description="The message was received."),
            410: OpenApiResponse(description="Nothing more is to be sent."),
        },
    ),
)


@dataclass(frozen=True)
class Described:
    """The bodies of the request and of the result of an action."""

    request: Any = empty
    result: Any = None


def submits(*, request: Any = empty, result: Any = None) -> Callable[[F], F]:
    """Describe a method of a view that returns `self.submit(…)`.

    `request` and `result` are serializers. Without `request`, drf-spectacular takes the view's
    own; None says that the request has no body.
    """

    def mark(method: F) -> F:
        setattr(method, MARK, Described(request, result))
        return method

    return mark


class MixinExtension(OpenApiViewExtension):
    """Methods of a view with LongRunningOperationMixin that `submits` has marked."""

    target_class = "async_reply.views.submit.LongRunningOperationMixin"
    match_subclasses = True
    priority = -1

    def view_replacement(self) -> Any:
        view = self.target
        methods = inspect.getmembers(view, lambda member: hasattr(member, MARK))
        schemas = {
            name: _schema(view, getattr(method, MARK), OUR_ERRORS) for name, method in methods
        }
        return with_schemas(view, **schemas) if schemas else view


class SubmitExtension(OpenApiViewExtension):
    """POST of a LongRunningOperationView: the 202, or the result for a client that waited."""

    target_class = "async_reply.views.submit.LongRunningOperationView"
    match_subclasses = True

    def view_replacement(self) -> Any:
        view = self.target
        described = Described(result=view.result_serializer_class)
        return with_schemas(view, post=_schema(view, described, ERRORS))


def _schema(view: Any, described: Described, errors: tuple[int, ...]) -> Callable[[F], F]:
    """Describes a method of this view, as the view's attributes say."""
    key = OpenApiParameter(
        headers.IDEMPOTENCY_KEY, KEY, HEADER, required=view.idempotency_key_required
    )
    monitors = [field(name, str, "The monitor URL.", 202) for name in view.operation_headers]
    responses: dict[Any, Any] = {
        202: OpenApiResponse(OperationReceiptSerializer, description="The operation exists."),
        **refusals(*errors),
    }
    if described.result is not None:
        # The answer to `Prefer: wait`. The result URL gives the same.
        responses[view.result_status] = described.result
    describe: Callable[[F], F] = extend_schema(
        parameters=[
            key, PREFER, RETRY_ACCEPTED, *monitors,
            field(headers.LOCATION, str, "The status URL, or the result's.", 202, always=True),
            field(headers.OPERATION_ID, str, "The operation's id.", 202, always=True),
            field(headers.IDEMPOTENT_REPLAYED, str, "The key was used before.", 202),
            field(headers.PREFERENCE_APPLIED, str, "RFC 7240.", view.result_status, 202),
            field(headers.CONTENT_LOCATION, str, "The result URL.", view.result_status),
        ],
        request=described.request,
        responses=responses,
        callbacks=[CALLBACK] if view.webhook else None,
    )  # fmt: skip
    return lambda method: _with_links(describe(method), takes_callback=bool(view.webhook))


def _with_links(method: F, *, takes_callback: bool) -> F:
    """Add the links of the 202, and the members of a callback. drf-spectacular has no options."""
    options: dict[str, Any] = method.kwargs  # type: ignore[attr-defined]  # set by extend_schema
    base: Any = options["schema"]

    class Linked(base):  # type: ignore[misc]  # the project may choose the base
        def get_operation(self, *arguments: Any, **named: Any) -> Any:
            operation = super().get_operation(*arguments, **named)
            accepted = ((operation or {}).get("responses") or {}).get("202")
            if accepted is not None:
                accepted["links"] = {
                    name: {"operationId": target, "parameters": {"id": "$response.body#/id"}}
                    for name, target in LINKS.items()
                }
            if operation and takes_callback:
                _add_members(operation.get("requestBody") or {})
            return operation

    options["schema"] = Linked
    return method


def _add_members(body: dict[str, Any]) -> None:
    """Add the members of a callback to each form of a body that is an object."""
    for content in body.get("content", {}).values():
        if content.get("schema", {}).get("type") != "array":
            content["schema"] = {"allOf": [content["schema"], CALLBACK_MEMBERS]}
