"""Who may do what: one class, which a project replaces by the setting `ACCESS`."""

from collections.abc import Sequence
from typing import Any

from django.utils.module_loading import import_string
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import (
    BasePermission,
    IsAuthenticated,
    OperandHolder,
    SingleOperandHolder,
)
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.throttling import BaseThrottle

from async_reply import conf
from async_reply.models import Operation
from async_reply.querysets import OperationQuerySet
from async_reply.throttling import PollThrottle


class OperationAccess:
    """Authentication and permission of submits and operations, and whose operations are whose.

    The submit view takes from here what it does not set itself. Throttles are the operations'
    own: submits are throttled as any other view.
    """

    #: None: the project's DEFAULT_AUTHENTICATION_CLASSES.
    authentication_classes: Sequence[type[BaseAuthentication]] | None = None
    permission_classes: Sequence[type[BasePermission] | OperandHolder | SingleOperandHolder] = [
        IsAuthenticated
    ]
    throttle_classes: Sequence[type[BaseThrottle]] = [PollThrottle]

    def get_authenticators(self) -> list[BaseAuthentication]:
        classes: Any = self.authentication_classes
        if classes is None:
            classes = api_settings.DEFAULT_AUTHENTICATION_CLASSES
        return [each() for each in classes]

    def get_permissions(self) -> list[Any]:
        return [each() for each in self.permission_classes]

    def get_throttles(self) -> list[BaseThrottle]:
        return [each() for each in self.throttle_classes]

    def get_owner(self, request: Request) -> str:
        """Whoever the request speaks for, as text; '' for nobody."""
        user = request.user
        if user is None or not user.is_authenticated:
            return ""
        return str(user.pk)

    def get_queryset(self, request: Request) -> OperationQuerySet:
        """The operations that exist for this request; all others are unknown to it."""
        owner = self.get_owner(request)
        if not owner:
            return Operation.objects.none()
        return Operation.objects.filter(owner=owner)

    def sees(self, request: Request, operation: Operation) -> bool:
        """Whether `get_queryset` has the operation, which has just been read.

        Asked before each event of a stream: without a statement of its own where owners decide.
        """
        if type(self).get_queryset is not OperationAccess.get_queryset:
            return self.get_queryset(request).filter(pk=operation.pk).exists()
        owner = self.get_owner(request)
        return bool(owner) and str(owner) == operation.owner


def access() -> OperationAccess:
    """The project's OperationAccess."""
    made: OperationAccess = import_string(conf.get("ACCESS"))()
    return made
