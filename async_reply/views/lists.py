"""The view that lists the caller's operations, with its filters and its pages."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import QueryDict
from django.utils import timezone
from rest_framework import ISO_8601, serializers
from rest_framework import exceptions as drf
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response

from async_reply import documents
from async_reply.database import clock
from async_reply.protocol import headers
from async_reply.querysets import OperationQuerySet
from async_reply.status import Status
from async_reply.views.access import AccessMixin


class MomentField(serializers.DateTimeField):
    """A date in ISO 8601, in the range that the database can compare.

    A date without an offset is in the current time zone; without USE_TZ it is in TIME_ZONE.
    """

    input_formats = [ISO_8601]

    def enforce_timezone(self, value: datetime) -> datetime:
        try:
            aware = timezone.is_aware(value)
            return clock.as_stored(value if aware else super().enforce_timezone(value))
        except OverflowError:
            self.fail("overflow")


class FilterSerializer(serializers.Serializer[Any]):
    """Validates the query parameters. FILTERS maps them to lookups."""

    status = serializers.ChoiceField(choices=Status.choices, required=False)
    kind = serializers.CharField(max_length=200, required=False, trim_whitespace=False)
    created_after = MomentField(required=False)
    created_before = MomentField(required=False)


FILTERS = {
    "status": "status",
    "kind": "kind",
    "created_after": "created_at__gt",
    "created_before": "created_at__lt",
}


class OperationFilter:
    """The filters `?status=&kind=&created_after=&created_before=`; a malformed value is a 400."""

    def __init__(self, params: QueryDict) -> None:
        serializer = FilterSerializer(data={key: params[key] for key in FILTERS if key in params})
        serializer.is_valid(raise_exception=True)
        self.values: dict[str, str | datetime] = serializer.validated_data

    def apply(self, queryset: OperationQuerySet) -> OperationQuerySet:
        return queryset.filter(**{FILTERS[key]: value for key, value in self.values.items()})


class OperationPagination(CursorPagination):
    """Pages by id, newest first. Each page costs the same, however many are before it."""

    ordering = "-id"
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200

    def decode_cursor(self, request: Any) -> Any:
        cursor = super().decode_cursor(request)
        if cursor is not None and cursor.position is not None:
            try:
                UUID(str(cursor.position))
            except ValueError:
                raise drf.NotFound(self.invalid_cursor_message) from None
        return cursor


class ListView(AccessMixin):
    """GET: the caller's operations that have not expired, newest first, in pages."""

    polls = False

    def get(self, request: Request, **kwargs: Any) -> Response:
        queryset = OperationFilter(request.query_params).apply(self.get_queryset())
        alive = queryset.filter(deleted_at=None).exclude(expires_at__lte=timezone.now())
        pagination = OperationPagination()
        page = pagination.paginate_queryset(alive, request, view=self)
        rows = [
            documents.document(operation, request, may_cancel=self.may_cancel(operation))
            for operation in page or []
        ]
        response = pagination.get_paginated_response(rows)
        response[headers.CACHE_CONTROL] = headers.PRIVATE
        return response
