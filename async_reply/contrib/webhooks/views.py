"""The API for an owner's own endpoints, deliveries and secrets.

The project's OperationAccess decides about authentication, permissions and throttles, as for the
views of operations. Endpoints and deliveries of others are 404.
"""

from typing import Any, ClassVar
from uuid import UUID

from django.db import transaction
from rest_framework import exceptions as drf
from rest_framework import status
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from async_reply.contrib.webhooks import replays, submits
from async_reply.contrib.webhooks.models import CallbackSecret, Delivery, Endpoint
from async_reply.contrib.webhooks.serializers import (
    DeliverySerializer,
    EndpointSerializer,
    SinceSerializer,
    TrySerializer,
)
from async_reply.database import alias
from async_reply.permissions import HasOwner
from async_reply.protocol import headers
from async_reply.views import bodies
from async_reply.views.access import AccessMixin
from async_reply.views.lists import OperationPagination

#: Tries of a delivery that its page shows, the last ones.
SHOWN_TRIES = 100


class WebhooksMixin(AccessMixin):
    """A view of what belongs to the caller's owner."""

    polls = False
    model: ClassVar[Any]

    def get_permissions(self) -> list[BasePermission]:
        """A caller without an owner has no webhooks, whatever the project lets such callers do."""
        return [*super().get_permissions(), HasOwner()]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method in ("POST", "PATCH"):
            bodies.check_length(request)

    @property
    def owner(self) -> str:
        return self.access.get_owner(self.request)

    def get_queryset(self) -> Any:
        return self.model.objects.filter(owner=self.owner)

    def get_object(self, *, is_changed: bool = False) -> Any:
        """The row; one that is changed is locked, so that two requests change it in turn."""
        rows = self.get_queryset()
        if is_changed:
            rows = rows.select_for_update()
        try:
            row = rows.filter(pk=UUID(self.kwargs["id"])).first()
        except ValueError:
            row = None
        if row is None:
            raise drf.NotFound
        self.check_object_permissions(self.request, row)
        return row

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        final = super().finalize_response(request, response, *args, **kwargs)
        final[headers.CACHE_CONTROL] = headers.PRIVATE
        return final


class EndpointsView(WebhooksMixin):
    """GET: the caller's endpoints. POST: registers one; the answer alone shows its secret."""

    model = Endpoint
    serializer_class = EndpointSerializer

    def get(self, request: Request, **kwargs: Any) -> Response:
        rows = self.get_queryset().order_by("id")
        return Response({"results": EndpointSerializer(rows, many=True).data})

    def post(self, request: Request, **kwargs: Any) -> Response:
        serializer = EndpointSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        if self.get_queryset().count() >= submits.MAX_ENDPOINTS:
            raise drf.ValidationError(f"An owner has at most {submits.MAX_ENDPOINTS} endpoints.")
        values = dict(serializer.validated_data)
        base_url, version = submits.base(request)
        endpoint = Endpoint(
            owner=self.owner,
            url=values.pop("shown_url"),
            base_url=base_url,
            api_version=version,
            **values,
        )
        secret = endpoint.renew_secret()
        endpoint.save(force_insert=True)
        endpoint.refresh_from_db()
        return Response(
            {**EndpointSerializer(endpoint).data, "secret": secret},
            status=status.HTTP_201_CREATED,
        )


class EndpointView(WebhooksMixin):
    """One endpoint. PATCH changes URL, events, form and state; DELETE ends its deliveries."""

    model = Endpoint
    serializer_class = EndpointSerializer

    def get(self, request: Request, **kwargs: Any) -> Response:
        return Response(EndpointSerializer(self.get_object()).data)

    def patch(self, request: Request, **kwargs: Any) -> Response:
        with transaction.atomic(using=alias()):
            endpoint = self.get_object(is_changed=True)
            serializer = EndpointSerializer(endpoint, data=request.data, partial=True)
            serializer.is_valid(raise_exception=True)
            values = dict(serializer.validated_data)
            url = values.pop("shown_url", None)
            if url is not None:
                replays.change_url(endpoint, url)
            for name, value in values.items():
                setattr(endpoint, name, value)
            endpoint.save()
        return Response(EndpointSerializer(endpoint).data)

    def delete(self, request: Request, **kwargs: Any) -> Response:
        self.get_object().delete()
        return Response(status=status.HTTP_204_NO_CONTENT)


class SecretView(WebhooksMixin):
    """POST: a new secret for an endpoint. The one before it signs besides for another day."""

    model = Endpoint

    def post(self, request: Request, **kwargs: Any) -> Response:
        with transaction.atomic(using=alias()):
            endpoint = self.get_object(is_changed=True)
            secret = endpoint.renew_secret()
            endpoint.save()
        return Response({"secret": secret})


class CallbackSecretView(WebhooksMixin):
    """POST: a new secret for the caller's callbacks. The one before it signs for another day."""

    model = CallbackSecret

    def post(self, request: Request, **kwargs: Any) -> Response:
        new = CallbackSecret(owner=self.owner)
        secret = new.renew_secret()
        values = {"secret": new.secret}
        row, is_new = CallbackSecret.objects.get_or_create(owner=self.owner, defaults=values)
        if not is_new:
            with transaction.atomic(using=alias()):
                row = CallbackSecret.objects.select_for_update().get(pk=row.pk)
                secret = row.renew_secret()
                row.save()
        return Response({"secret": secret}, status=status.HTTP_201_CREATED)


class TestView(WebhooksMixin):
    """POST: sends a message of the type `webhook.test` to an endpoint."""

    model = Endpoint

    def post(self, request: Request, **kwargs: Any) -> Response:
        delivery = replays.send_test(self.get_object())
        delivery.refresh_from_db()
        return Response(DeliverySerializer(delivery).data, status=status.HTTP_202_ACCEPTED)


class ReplaySinceView(WebhooksMixin):
    """POST {"since": …}: sends all messages again whose deliveries ended since then."""

    model = Endpoint

    def post(self, request: Request, **kwargs: Any) -> Response:
        serializer = SinceSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        count = replays.replay_since(self.get_object(), serializer.validated_data["since"])
        return Response({"replayed": count}, status=status.HTTP_202_ACCEPTED)


class DeliveriesView(WebhooksMixin):
    """GET: the caller's deliveries, newest first, in pages; `?endpoint=` or `?operation=`."""

    model = Delivery
    serializer_class = DeliverySerializer

    def get(self, request: Request, **kwargs: Any) -> Response:
        rows = self.get_queryset().defer("body")
        for name in ("endpoint", "operation"):
            if name in request.query_params:
                rows = rows.filter(**{name: _uuid(name, request.query_params[name])})
        pagination = OperationPagination()
        page: list[Delivery] | None = pagination.paginate_queryset(rows, request, view=self)
        return pagination.get_paginated_response(DeliverySerializer(page or [], many=True).data)


class DeliveryView(WebhooksMixin):
    """GET: a delivery with its last tries: time, status, and the first kilobyte of the answer."""

    model = Delivery
    serializer_class = DeliverySerializer

    def get(self, request: Request, **kwargs: Any) -> Response:
        delivery = self.get_object()
        tries = delivery.ledger.order_by("-id")[:SHOWN_TRIES]
        ledger = TrySerializer(tries, many=True).data
        return Response({**DeliverySerializer(delivery).data, "ledger": ledger})


class ReplayView(WebhooksMixin):
    """POST: sends the last message of a delivery again, with the same id."""

    model = Delivery

    def post(self, request: Request, **kwargs: Any) -> Response:
        count = replays.replay(self.get_object())
        return Response({"replayed": count}, status=status.HTTP_202_ACCEPTED)


def _uuid(name: str, text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise drf.ValidationError({name: ["Must be a valid UUID."]}) from None
