"""OperationAccess classes of projects."""

from rest_framework.permissions import AllowAny
from rest_framework.request import Request

from async_reply.models import Operation
from async_reply.permissions import OperationAccess
from async_reply.querysets import OperationQuerySet


class OpenAccess(OperationAccess):
    permission_classes = [AllowAny]


class TenantAccess(OperationAccess):
    """Everybody sees what their tenant, a header, owns."""

    def get_owner(self, request: Request) -> str:
        return f"tenant:{request.headers.get('X-Tenant', '')}"

    def get_queryset(self, request: Request) -> OperationQuerySet:
        queryset: OperationQuerySet = Operation.objects.filter(owner=self.get_owner(request))
        return queryset
