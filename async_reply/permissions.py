"""Who may do what: one class, which a project replaces by the setting `ACCESS`."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.utils.module_loading import import_string
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission, OperandHolder, SingleOperandHolder
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.throttling import BaseThrottle, UserRateThrottle

from async_reply import conf
from async_reply.models import Operation
from async_reply.querysets import OperationQuerySet
from async_reply.services import users

if TYPE_CHECKING:
    # It imports the project's authentication, whose module may hold its OperationAccess as well.
    from rest_framework.views import APIView

#: The attribute of Django's request that holds the OperationAccess made for it.
ATTRIBUTE = "async_reply_access"


class HasOwner(BasePermission):
    """Lets in the callers for whom `OperationAccess.get_owner` names an owner."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        return bool(owner(request))


class PollThrottle(UserRateThrottle):
    """`POLL_RATE` per caller, in a bucket of its own: a submit never uses up a poll."""

    scope = "async_reply"

    def get_rate(self) -> Any:
        return conf.get("POLL_RATE")

    def get_cache_key(self, request: Request, view: Any) -> str | None:
        """By owner, as lists and quotas are; by address where there is none."""
        owner = view.access.get_owner(request) or f"from {self.get_ident(request)}"
        # Caches do not take each text for a key.
        ident = hashlib.sha256(str(owner).encode()).hexdigest()
        return self.cache_format % {"scope": self.scope, "ident": ident}

    def allow_request(self, request: Request, view: "APIView") -> bool:
        return self.rate is None or super().allow_request(request, view)


class OperationAccess:
    """Authentication, permissions and throttles of operations, and whose operations are whose.

    A class attribute that is None stands for the project's own default in `REST_FRAMEWORK`. The
    submit view takes authentication and permissions from here where it does not say its own. One
    instance serves one request.
    """

    #: None: the project's DEFAULT_AUTHENTICATION_CLASSES.
    authentication_classes: Sequence[type[BaseAuthentication]] | None = None
    #: None: the project's DEFAULT_PERMISSION_CLASSES, and HasOwner besides.
    permission_classes: (
        Sequence[type[BasePermission] | OperandHolder | SingleOperandHolder] | None
    ) = None
    #: None: the project's DEFAULT_THROTTLE_CLASSES. They count cancels, deletions, lists and
    #: downloads of results.
    throttle_classes: Sequence[type[BaseThrottle]] | None = None
    #: Polls are counted apart, so that two submits do not use up the first poll.
    poll_throttle_classes: Sequence[type[BaseThrottle]] = [PollThrottle]

    def get_authenticators(self) -> list[BaseAuthentication]:
        classes = _or_default(self.authentication_classes, "DEFAULT_AUTHENTICATION_CLASSES")
        return [cls() for cls in classes]

    def get_permissions(self) -> list[Any]:
        classes = _or_default(self.permission_classes, "DEFAULT_PERMISSION_CLASSES")
        if self.permission_classes is None:
            classes = [*classes, HasOwner]
        return [cls() for cls in classes]

    def get_throttles(self) -> list[BaseThrottle]:
        classes = _or_default(self.throttle_classes, "DEFAULT_THROTTLE_CLASSES")
        return [cls() for cls in classes]

    def get_poll_throttles(self) -> list[BaseThrottle]:
        return [cls() for cls in self.poll_throttle_classes]

    def get_owner(self, request: Request) -> str:
        """The owner of what this request submits: the user's primary key as text; '' for nobody.

        Raises ImproperlyConfigured for an authenticated user who is no row of AUTH_USER_MODEL:
        its primary key may be missing, or be that of somebody else. Override this method then.
        """
        user = request.user
        if user is None or not user.is_authenticated:
            return ""
        if not _is_saved_user(user):
            name = type(user).__name__
            raise ImproperlyConfigured(
                f"The caller is a {name} that is no saved user of AUTH_USER_MODEL, so nothing says "
                f"who owns its operations: override OperationAccess.get_owner (setting "
                f'ASYNC_REPLY["ACCESS"]) and return a text of your own for each {name}.'
            )
        return str(user.pk)

    def get_queryset(self, request: Request) -> OperationQuerySet:
        """The operations that exist for this request; all others are unknown to it."""
        owner = self.get_owner(request)
        if not owner:
            return Operation.objects.none()
        return Operation.objects.filter(owner=owner)


def access(request: Request | HttpRequest | None) -> OperationAccess:
    """The project's OperationAccess for this request; a new one where there is no request."""
    http: Any = getattr(request, "_request", request)
    made: OperationAccess | None = getattr(http, ATTRIBUTE, None)
    if made is None:
        made = import_string(conf.get("ACCESS"))()
        if http is not None:
            setattr(http, ATTRIBUTE, made)
    return made


def owner(request: Request) -> str:
    """The owner that the project's OperationAccess names; '' where it names none."""
    named: object = access(request).get_owner(request)
    return "" if named is None else str(named)


def _or_default(classes: Any, setting: str) -> Sequence[Any]:
    chosen: Sequence[Any] = getattr(api_settings, setting) if classes is None else classes
    return chosen


def _is_saved_user(user: Any) -> bool:
    model = users.user_model()
    if model is None or not isinstance(user, model) or user.pk is None:
        return False
    # A key that a default has made up for an unsaved user is nobody's.
    return not (user._state.adding and users.key_of(model).has_default())  # noqa: SLF001
