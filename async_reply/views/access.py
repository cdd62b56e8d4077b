"""Reaching operations: by the caller's own right, or by a valet key in the URL."""

import time
from math import inf
from typing import Any, ClassVar
from uuid import UUID

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import Http404
from django.http.response import HttpResponseBase
from rest_framework import exceptions as drf
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request, clone_request
from rest_framework.throttling import BaseThrottle

from async_reply import permissions
from async_reply.exceptions import OperationGone
from async_reply.models import Operation
from async_reply.protocol import headers, valet_keys
from async_reply.querysets import OperationQuerySet
from async_reply.views.base import ProblemsMixin
from async_reply.views.negotiation import LenientNegotiation
from async_reply.waiting import tickets


class OperationsMixin(ProblemsMixin):
    """A view of existing operations: the project's OperationAccess decides about everything."""

    content_negotiation_class = LenientNegotiation

    def determine_version(self, request: Request, *args: Any, **kwargs: Any) -> Any:
        """None of a version that Accept does not name: pollers do not, nor can an EventSource."""
        try:
            return super().determine_version(request, *args, **kwargs)
        except drf.NotAcceptable:
            return None, None

    #: Whether GET and HEAD are polls, which are counted apart.
    polls: bool = True

    @property
    def access(self) -> permissions.OperationAccess:
        return permissions.access(self.request)

    def get_authenticators(self) -> list[BaseAuthentication]:
        return self.access.get_authenticators()

    def get_permissions(self) -> Any:
        return self.access.get_permissions()

    def get_throttles(self) -> list[BaseThrottle]:
        """None where the request has waited: it was counted when it came."""
        if tickets.found(self.request).again:
            return []
        if self.polls and self.request.method in ("GET", "HEAD"):
            return self.access.get_poll_throttles()
        return self.access.get_throttles()

    def may_cancel(self, operation: Operation) -> bool:
        """Whether the caller's permissions allow a POST as well: links offer no more than that."""
        request = clone_request(self.request, "POST")
        try:
            return all(
                permission.has_permission(request, self)
                and permission.has_object_permission(request, self, operation)
                for permission in self.get_permissions()
            )
        except (drf.APIException, Http404, PermissionDenied):
            return False

    def get_queryset(self) -> OperationQuerySet:
        """The caller's operations; the input stays in the database."""
        return self.access.get_queryset(self.request).defer("input", "extra")

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        final: HttpResponseBase = super().finalize_response(request, response, *args, **kwargs)
        final.headers.setdefault("Cache-Control", headers.PRIVATE)
        return final


class OperationMixin(OperationsMixin):
    """A view of one operation; unknown, malformed and another's id are the same 404.

    With `?sig=` the valet key decides, and the caller's credentials are not looked at. A key that
    is not good for the operation and the method is a 404. OPTIONS, and methods that the view does
    not have, are answered as without it: they ask nothing of an operation.
    """

    #: What a valet key must allow for each method.
    scopes: ClassVar[dict[str, valet_keys.Scope]] = {"GET": "read", "HEAD": "read"}

    @property
    def valet_key(self) -> str | None:
        # Generators of schemas ask a view that has no request.
        request: Any = self.request
        if request is None or request.method == "OPTIONS":
            return None
        if not hasattr(self, (request.method or "").lower()):
            return None
        try:
            keys = request.GET.getlist("sig")
        except SuspiciousOperation:
            # Asked before errors are caught; negotiation comes next and answers with a problem.
            return None
        # Several are none that is good: not each reader of a URL takes the same one of them.
        return None if not keys else keys[0] if len(keys) == 1 else ""

    @property
    def seconds_left(self) -> float:
        """For how long the caller's valet key is good; infinite without one."""
        if self.valet_key is None:
            return inf
        return max(0.0, valet_keys.expiry(self.valet_key) - time.time())

    def get_authenticators(self) -> list[BaseAuthentication]:
        return super().get_authenticators() if self.valet_key is None else []

    def perform_authentication(self, request: Request) -> None:
        """Refuse a bad key before anything is asked of the view; a good one needs no user."""
        if self.valet_key is None:
            super().perform_authentication(request)
            return
        wanted = self.scopes.get(request.method or "", "cancel")
        if not valet_keys.allows(self.valet_key, self.get_pk(), wanted=wanted):
            raise unknown()

    def get_permissions(self) -> Any:
        return super().get_permissions() if self.valet_key is None else []

    def get_queryset(self) -> OperationQuerySet:
        if self.valet_key is None:
            return super().get_queryset()
        return Operation.objects.defer("input", "extra")

    def get_pk(self) -> UUID:
        """The id in the URL."""
        try:
            return UUID(self.kwargs["id"])
        except ValueError:
            raise unknown() from None

    def get_object(self) -> Operation:
        operation: Operation | None = self.get_queryset().filter(pk=self.get_pk()).first()
        if operation is None or operation.was_deleted:
            raise unknown()
        self.check_object_permissions(self.request, operation)
        if operation.is_gone:
            raise OperationGone("The operation has expired: submit the request again.")
        return operation

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        final: HttpResponseBase = super().finalize_response(request, response, *args, **kwargs)
        if self.valet_key is not None:
            # The key is in the URL: a page that a result leads to must not be told of it.
            final["Referrer-Policy"] = "no-referrer"
        return final


def unknown() -> drf.NotFound:
    return drf.NotFound("There is no such operation.")
