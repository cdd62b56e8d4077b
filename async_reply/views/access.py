"""Finds operations for a request, by the caller's credentials or by a valet key in the URL.

Base classes of the views that read, cancel and delete operations.
"""

import time
from math import inf
from typing import Any, ClassVar
from uuid import UUID

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import Http404
from django.http.response import HttpResponseBase
from rest_framework import exceptions as drf
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import AllowAny, IsAdminUser, IsAuthenticated
from rest_framework.request import Request, clone_request
from rest_framework.throttling import BaseThrottle

from async_reply import permissions
from async_reply.database import alias, statements
from async_reply.exceptions import OperationGone
from async_reply.models import Operation
from async_reply.protocol import headers, valet_keys
from async_reply.querysets import OperationQuerySet
from async_reply.views.base import ProblemsMixin
from async_reply.views.negotiation import LenientNegotiation
from async_reply.waiting import tickets

#: Permissions that answer a POST as they answer a GET. Others see a copy of the request.
ALIKE_FOR_ALL_METHODS = frozenset({AllowAny, IsAdminUser, IsAuthenticated, permissions.HasOwner})


class AccessMixin(ProblemsMixin):
    """A view of existing operations. The project's OperationAccess decides who may use it."""

    content_negotiation_class = LenientNegotiation
    #: Whether GET and HEAD are polls, which have throttles of their own.
    polls: bool = True

    def determine_version(self, request: Request, *args: Any, **kwargs: Any) -> Any:
        """No version when Accept names none: pollers and an EventSource cannot name one."""
        try:
            return super().determine_version(request, *args, **kwargs)
        except drf.NotAcceptable:
            return None, None

    @property
    def access(self) -> permissions.OperationAccess:
        return permissions.access(self.request)

    def get_authenticators(self) -> list[BaseAuthentication]:
        return self.access.get_authenticators()

    def get_permissions(self) -> Any:
        return self.access.get_permissions()

    def get_throttles(self) -> list[BaseThrottle]:
        """No throttles for a request that has waited: it was counted when it came in."""
        if tickets.of(self.request).is_follow_up:
            return []
        if self.polls and self.request.method in ("GET", "HEAD"):
            return self.access.get_poll_throttles()
        return self.access.get_throttles()

    def may_cancel(self, operation: Operation) -> bool:
        """Whether the caller's permissions allow a POST besides; otherwise no link cancels."""
        try:
            rules = self.get_permissions()
            if all(type(rule) in ALIKE_FOR_ALL_METHODS for rule in rules):
                request = self.request
            else:
                request = clone_request(self.request, "POST")
            return all(
                rule.has_permission(request, self)
                and rule.has_object_permission(request, self, operation)
                for rule in rules
            )
        except (drf.APIException, Http404, PermissionDenied):
            return False

    def get_deferred(self) -> tuple[str, ...]:
        """Columns that the view does not read. The input may be large, and no view shows it."""
        return ("input", "extra")

    def get_queryset(self) -> OperationQuerySet:
        """The caller's operations, without the columns that the view does not need."""
        return self.access.get_queryset(self.request).defer(*self.get_deferred())

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        final: HttpResponseBase = super().finalize_response(request, response, *args, **kwargs)
        final.headers.setdefault(headers.CACHE_CONTROL, headers.PRIVATE)
        return final


class SingleOperationMixin(AccessMixin):
    """A view of one operation. Unknown ids, malformed ids and ids of others are the same 404.

    With a valet key (`?sig=`) the key decides, and the caller's credentials are ignored. A key
    that is invalid for the operation or the method is a 404 too. OPTIONS and methods that the
    view lacks ignore the key, since they tell nothing about an operation.
    """

    #: Method -> the scope that a valet key needs for it; every other method needs "cancel".
    scopes: ClassVar[dict[str, valet_keys.Scope]] = {"GET": "read", "HEAD": "read"}
    #: A request asks for its key ten times.
    _request_and_key: tuple[Request | None, str | None] | None = None

    @property
    def valet_key(self) -> str | None:
        """The key of the URL; None without one, '' for a URL with several."""
        # REST framework replaces the request for a while when it renders forms.
        if self._request_and_key is None or self._request_and_key[0] is not self.request:
            self._request_and_key = self.request, self._read_valet_key()
        return self._request_and_key[1]

    def _read_valet_key(self) -> str | None:
        # Schema generators use a view without a request.
        request: Any = self.request
        if request is None or request.method == "OPTIONS":
            return None
        if not hasattr(self, (request.method or "").lower()):
            return None
        try:
            keys = request.GET.getlist("sig")
        except SuspiciousOperation:
            # REST framework reads the key before it handles errors. Negotiation comes next, raises
            # the same error, and the client gets a problem document.
            return None
        # Software in front of us may read another one of several keys than we do.
        return None if not keys else keys[0] if len(keys) == 1 else ""

    @property
    def seconds_left(self) -> float:
        """Seconds until the caller's valet key expires; infinite without a key."""
        if self.valet_key is None:
            return inf
        return max(0.0, valet_keys.expiry(self.valet_key) - time.time())

    def get_authenticators(self) -> list[BaseAuthentication]:
        return super().get_authenticators() if self.valet_key is None else []

    def perform_authentication(self, request: Request) -> None:
        """Refuse an invalid key before the view does anything; a valid key needs no user."""
        if self.valet_key is None:
            super().perform_authentication(request)
            return
        scope = self.scopes.get(request.method or "", "cancel")
        if not valet_keys.allows(self.valet_key, self.get_pk(), wanted=scope):
            raise not_found()

    def get_permissions(self) -> Any:
        return super().get_permissions() if self.valet_key is None else []

    def get_queryset(self) -> OperationQuerySet:
        if self.valet_key is None:
            return super().get_queryset()
        return Operation.objects.defer(*self.get_deferred())

    def get_pk(self) -> UUID:
        """The id in the URL."""
        try:
            return UUID(self.kwargs["id"])
        except ValueError:
            raise not_found() from None

    def get_object(self) -> Operation:
        operation = self._read(self.get_pk())
        if operation is None or operation.was_deleted:
            raise not_found()
        self.check_object_permissions(self.request, operation)
        if operation.is_gone:
            raise OperationGone("The operation has expired: submit the request again.")
        return operation

    def _read(self, pk: UUID) -> Operation | None:
        """The operation, if the request may see it.

        One fixed statement, which spares a poll a fifth of its time, unless the project chooses
        the operations of a request by a `get_queryset` of its own.
        """
        methods = self.get_queryset, self.access.get_queryset
        # A function that is set on an instance has no __func__.
        if tuple(getattr(method, "__func__", None) for method in methods) != OWN_GET_QUERYSETS:
            operation: Operation | None = self.get_queryset().filter(pk=pk).first()
            return operation
        guard: dict[str, Any] = {"pk": pk}
        if self.valet_key is None:
            guard["owner"] = self.access.get_owner(self.request)
            if not guard["owner"]:
                return None
        found: Operation | None = statements.read(
            Operation, alias(), guard, defer=self.get_deferred()
        )
        return found

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        final: HttpResponseBase = super().finalize_response(request, response, *args, **kwargs)
        if self.valet_key is not None:
            # The key is in the URL. A page that the result links to must not see it as Referer.
            final[headers.REFERRER_POLICY] = "no-referrer"
        return final


#: A project that replaces one of these chooses the operations of a request by itself.
OWN_GET_QUERYSETS = SingleOperationMixin.get_queryset, permissions.OperationAccess.get_queryset


def not_found() -> drf.NotFound:
    return drf.NotFound("There is no such operation.")
