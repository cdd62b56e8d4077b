"""Endpoints and deliveries as JSON, for their owner. No secret is among the members."""

from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from async_reply.contrib.webhooks import addresses, events, submits
from async_reply.contrib.webhooks.models import Delivery, DeliveryTry, Endpoint
from async_reply.views.lists import MomentField


class URLField(serializers.CharField):
    """A URL that webhooks may be sent to. A query is not shown again: it may hold a password."""

    def to_internal_value(self, data: Any) -> str:
        url = str(super().to_internal_value(data))
        try:
            addresses.check_url(url)
        except addresses.Refused as refusal:
            raise serializers.ValidationError(str(refusal)) from None
        return url


class EndpointSerializer(serializers.ModelSerializer[Endpoint]):
    url = URLField(source="shown_url")
    events = serializers.ListField(child=serializers.ChoiceField(choices=events.ALL), min_length=1)
    state = serializers.ChoiceField(choices=("enabled", "disabled"), required=False)

    class Meta:
        model = Endpoint
        fields = ("id", "url", "events", "whole", "state", "created_at", "previous_until")
        read_only_fields = ("previous_until",)

    def get_fields(self) -> Any:
        fields = super().get_fields()
        fields["events"].required = False
        return fields

    def validate_events(self, names: list[str]) -> list[str]:
        return submits.check_events(list(names))

    def to_representation(self, instance: Endpoint) -> dict[str, Any]:
        shown = dict(super().to_representation(instance))
        # "gone" is set by a receiver only.
        return {**shown, "state": instance.state}


class DeliverySerializer(serializers.ModelSerializer[Delivery]):
    url = serializers.CharField(source="shown_url", help_text=_("That of a callback."))
    message = serializers.SerializerMethodField()

    class Meta:
        model = Delivery
        fields = (
            *("id", "operation", "kind", "endpoint", "url", "state", "event", "message"),
            *("tries", "due_at", "created_at", "ended_at"),
        )

    def get_message(self, delivery: Delivery) -> str:
        return delivery.message_id if delivery.event else ""


class TrySerializer(serializers.ModelSerializer[DeliveryTry]):
    class Meta:
        model = DeliveryTry
        fields = ("message_id", "posted_at", "seconds", "status", "error", "answer")


class SinceSerializer(serializers.Serializer[Any]):
    since = MomentField()
