"""Decides who may submit, read and cancel operations: OperationAccess, for each request.

A project replaces the class by ASYNC_REPLY["ACCESS"].
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.module_loading import import_string
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission, OperandHolder, SingleOperandHolder
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.throttling import BaseThrottle, UserRateThrottle

from async_reply import conf, tokens
from async_reply.models import Operation
from async_reply.querysets import OperationQuerySet
from async_reply.services import users

if TYPE_CHECKING:
    # REST framework's views import the project's authentication classes. Their module may import
    # this one for its own OperationAccess.
    from rest_framework.views import APIView

#: The attribute of Django's request that holds the OperationAccess made for it.
ATTRIBUTE = "async_reply_access"


class HasOwner(BasePermission):
    """Refuses callers without an owner, by `OperationAccess.get_owner`."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        return bool(owner(request))


class PollThrottle(UserRateThrottle):
    """Limits polls to the setting `POLL_RATE` for each caller. Submits do not count."""

    scope = "async_reply"

    def get_rate(self) -> Any:
        return conf.get("POLL_RATE")

    def get_cache_key(self, request: Request, view: Any) -> str | None:
        """Polls are counted by owner; those of a caller without an owner by address."""
        caller = owner(request) or f"from {self.get_ident(request)}"
        # Some caches refuse spaces and long texts in a key.
        ident = hashlib.sha256(caller.encode()).hexdigest()
        return self.cache_format % {"scope": self.scope, "ident": ident}

    def allow_request(self, request: Request, view: "APIView") -> bool:
        return self.rate is None or super().allow_request(request, view)


class OperationAccess:
    """Decides about the views of operations: authentication, permissions, throttles, ownership.

    A project names its subclass in ASYNC_REPLY["ACCESS"]. One instance serves one request. A class
    attribute that is None stands for the project's default in `REST_FRAMEWORK`. A submit view
    takes authentication and permissions from here unless it sets its own.

    A caller without valid credentials gets 401, or 403 when the first authenticator has no
    WWW-Authenticate header (RFC 9110, section 15.5.2). A refused permission is 403, a throttle
    429. An operation outside of `get_queryset` is 404, like an id that does not exist.
    """

    #: None: the project's DEFAULT_AUTHENTICATION_CLASSES.
    authentication_classes: Sequence[type[BaseAuthentication]] | None = None
    #: None: the project's DEFAULT_PERMISSION_CLASSES and HasOwner.
    permission_classes: (
        Sequence[type[BasePermission] | OperandHolder | SingleOperandHolder] | None
    ) = None
    #: None: the project's DEFAULT_THROTTLE_CLASSES. These throttles count cancels, deletes, lists
    #: and downloads of results.
    throttle_classes: Sequence[type[BaseThrottle]] | None = None
    #: Polls have throttles of their own, so that submits do not use up a client's polls.
    poll_throttle_classes: Sequence[type[BaseThrottle]] = [PollThrottle]

    def get_authenticators(self) -> list[BaseAuthentication]:
        classes = _or_default(self.authentication_classes, "DEFAULT_AUTHENTICATION_CLASSES")
        return [tokens.quicken(cls()) for cls in classes]

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
        """The owner of the operations that this request submits, as text.

        By default the user's primary key; '' for an anonymous caller. Raises ImproperlyConfigured
        for an authenticated user that is no saved row of AUTH_USER_MODEL: such a user may have no
        primary key, or the key of somebody else. Override this method for such users.
        """
        user = request.user
        if user is None or not user.is_authenticated:
            return ""
        if not _is_saved_user(user):
            name = type(user).__name__
            raise ImproperlyConfigured(
                f"The caller is a {name} and no saved user of AUTH_USER_MODEL, so its operations "
                "would have no owner: override OperationAccess.get_owner (setting "
                f'ASYNC_REPLY["ACCESS"]) and return a text of your own for each {name}.'
            )
        return str(user.pk)

    def get_queryset(self, request: Request) -> OperationQuerySet:
        """The operations that the caller may read; every other id is a 404.

        By default those of the caller's owner, and none for a caller without an owner.
        """
        owner = self.get_owner(request)
        if not owner:
            return Operation.objects.none()
        return Operation.objects.filter(owner=owner)

    def prepare_owners(self, owners: Collection[str]) -> None:
        """Read in one go what `describe_owner` needs for these owners. By default their users."""
        self._users = users.by_key(owners)

    def describe_owner(self, owner: str) -> tuple[str, str]:
        """The owner for operators in the admin: a text, and the URL of a page or ''.

        By default the user with this primary key, as text, and the user's page in the admin.
        Anybody who may view operations reads the text.
        """
        known: Mapping[str, Model] = getattr(self, "_users", {})
        user = known[owner] if owner in known else users.by_key([owner]).get(owner)
        if user is None:
            return owner, ""
        name = f"admin:{user._meta.app_label}_{user._meta.model_name}_change"
        try:
            return str(user), reverse(name, args=[user.pk])
        except NoReverseMatch:
            return str(user), ""

    def find_owners(self, text: str) -> list[str]:
        """The owners that an operator means who searches for `text`; a few at most.

        By default the users whose user name begins with it.
        """
        return users.named(text)


def access(request: Request | HttpRequest | None) -> OperationAccess:
    """The one OperationAccess of this request, of Django or REST framework; None gets a new one."""
    django_request: Any = getattr(request, "_request", request)
    instance: OperationAccess | None = getattr(django_request, ATTRIBUTE, None)
    if instance is None:
        instance = import_string(conf.get("ACCESS"))()
        if django_request is not None:
            setattr(django_request, ATTRIBUTE, instance)
    return instance


def owner(request: Request) -> str:
    """The caller's owner by the project's OperationAccess; '' for a caller without an owner."""
    value: object = access(request).get_owner(request)
    return "" if value is None else str(value)


def _or_default(classes: Any, setting: str) -> Sequence[Any]:
    result: Sequence[Any] = getattr(api_settings, setting) if classes is None else classes
    return result


def _is_saved_user(user: Any) -> bool:
    model = users.user_model()
    if model is None or not isinstance(user, model) or user.pk is None:
        return False
    # A default may have given an unsaved user a primary key. No row has this key.
    return not (user._state.adding and users.key_of(model).has_default())  # noqa: SLF001
