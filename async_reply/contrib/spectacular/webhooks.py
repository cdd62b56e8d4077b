"""Describes the API of webhooks: endpoints, secrets, deliveries and replays.

Only a project that has installed the app `async_reply.contrib.webhooks` imports this module.
"""

from typing import Any

from drf_spectacular.extensions import OpenApiViewExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers

from async_reply.contrib.spectacular.answers import (
    ID,
    PAGES,
    QUERY,
    RETRY_ERROR,
    refusals,
    with_schemas,
)
from async_reply.contrib.webhooks import events

VIEWS = "async_reply.contrib.webhooks.views"
#: Errors of all views of webhooks, and of those that read a body.
COMMON = (400, 401, 403, 404, 429, 503)
OF_BODIES = (411, 413, 415, *COMMON)
FILTERS = [OpenApiParameter(name, OpenApiTypes.UUID, QUERY) for name in ("endpoint", "operation")]
#: Events of messages: those of a filter, and that of the test button.
EVENT_NAMES = ", ".join((*events.ALL, events.TEST))


class WebhookEndpointSerializer(serializers.Serializer[Any]):
    """A receiver that hears of all operations of its owner."""

    id = serializers.UUIDField(read_only=True)
    url = serializers.CharField(help_text="A query is not shown again.")
    events = serializers.ListField(
        child=serializers.CharField(), required=False, help_text=f"Of {', '.join(events.ALL)}."
    )
    whole = serializers.BooleanField(required=False)
    state = serializers.CharField(
        required=False, help_text='"enabled" or "disabled"; "gone" after a 410.'
    )
    created_at = serializers.DateTimeField(read_only=True)
    previous_until = serializers.DateTimeField(
        read_only=True, allow_null=True, help_text="Until then the previous secret also signs."
    )


class WebhookNewEndpointSerializer(WebhookEndpointSerializer):
    secret = serializers.CharField(help_text="It is shown once.")


class WebhookEndpointListSerializer(serializers.Serializer[Any]):
    results = WebhookEndpointSerializer(many=True)


class WebhookSecretSerializer(serializers.Serializer[Any]):
    secret = serializers.CharField(help_text="It is shown once.")


class WebhookDeliverySerializer(serializers.Serializer[Any]):
    """The messages about one operation to one receiver."""

    id = serializers.UUIDField()
    operation = serializers.UUIDField()
    kind = serializers.CharField(allow_blank=True)
    endpoint = serializers.UUIDField(allow_null=True, help_text="Null for a callback.")
    url = serializers.CharField(allow_blank=True, help_text="That of a callback.")
    state = serializers.CharField(help_text='"open", "delivered", "failed" or "closed".')
    event = serializers.CharField(allow_blank=True, help_text=f"Of {EVENT_NAMES}.")
    message = serializers.CharField(allow_blank=True, help_text="The webhook-id.")
    tries = serializers.IntegerField(min_value=0)
    due_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)


class WebhookTrySerializer(serializers.Serializer[Any]):
    message_id = serializers.CharField()
    posted_at = serializers.DateTimeField()
    seconds = serializers.FloatField()
    status = serializers.IntegerField(allow_null=True, help_text="Null without an answer.")
    error = serializers.CharField(allow_blank=True)
    answer = serializers.CharField(allow_blank=True, help_text="The first kilobyte.")


class WebhookLedgerSerializer(WebhookDeliverySerializer):
    ledger = WebhookTrySerializer(many=True)


class WebhookDeliveryPageSerializer(serializers.Serializer[Any]):
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = WebhookDeliverySerializer(many=True)


class WebhookSinceSerializer(serializers.Serializer[Any]):
    since = serializers.DateTimeField()


class WebhookReplayedSerializer(serializers.Serializer[Any]):
    replayed = serializers.IntegerField(min_value=0)


def _method(name: str, status: int, answer: Any, *parameters: Any, request: Any = None) -> Any:
    """The schema of one method; its operationId begins with `webhook_`."""
    errors = COMMON if request is None else OF_BODIES
    response = answer or OpenApiResponse(description="It is deleted.")
    return extend_schema(
        operation_id=f"webhook_{name}",
        parameters=[*parameters, RETRY_ERROR],
        request=request,
        responses={status: response, **refusals(*errors)},
    )


class EndpointsExtension(OpenApiViewExtension):
    target_class = f"{VIEWS}.EndpointsView"

    def view_replacement(self) -> Any:
        return with_schemas(
            self.target,
            get=_method("endpoint_list", 200, WebhookEndpointListSerializer),
            post=_method(
                "endpoint_create",
                201,
                WebhookNewEndpointSerializer,
                request=WebhookEndpointSerializer,
            ),
        )


class EndpointExtension(OpenApiViewExtension):
    target_class = f"{VIEWS}.EndpointView"

    def view_replacement(self) -> Any:
        one = WebhookEndpointSerializer
        return with_schemas(
            self.target,
            get=_method("endpoint", 200, one, ID),
            patch=_method("endpoint_change", 200, one, ID, request=one),
            delete=_method("endpoint_delete", 204, None, ID),
        )


class SecretExtension(OpenApiViewExtension):
    target_class = f"{VIEWS}.SecretView"

    def view_replacement(self) -> Any:
        return with_schemas(
            self.target, post=_method("endpoint_secret", 200, WebhookSecretSerializer, ID)
        )


class CallbackSecretExtension(OpenApiViewExtension):
    target_class = f"{VIEWS}.CallbackSecretView"

    def view_replacement(self) -> Any:
        return with_schemas(
            self.target, post=_method("callback_secret", 201, WebhookSecretSerializer)
        )


class TestExtension(OpenApiViewExtension):
    target_class = f"{VIEWS}.TestView"

    def view_replacement(self) -> Any:
        return with_schemas(
            self.target, post=_method("endpoint_test", 202, WebhookDeliverySerializer, ID)
        )


class ReplaySinceExtension(OpenApiViewExtension):
    target_class = f"{VIEWS}.ReplaySinceView"

    def view_replacement(self) -> Any:
        post = _method(
            "endpoint_replay", 202, WebhookReplayedSerializer, ID, request=WebhookSinceSerializer
        )
        return with_schemas(self.target, post=post)


class DeliveriesExtension(OpenApiViewExtension):
    target_class = f"{VIEWS}.DeliveriesView"

    def view_replacement(self) -> Any:
        get = _method("delivery_list", 200, WebhookDeliveryPageSerializer, *FILTERS, *PAGES)
        return with_schemas(self.target, get=get)


class DeliveryExtension(OpenApiViewExtension):
    target_class = f"{VIEWS}.DeliveryView"

    def view_replacement(self) -> Any:
        return with_schemas(self.target, get=_method("delivery", 200, WebhookLedgerSerializer, ID))


class ReplayExtension(OpenApiViewExtension):
    target_class = f"{VIEWS}.ReplayView"

    def view_replacement(self) -> Any:
        return with_schemas(
            self.target, post=_method("delivery_replay", 202, WebhookReplayedSerializer, ID)
        )
