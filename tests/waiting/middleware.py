"""Middleware, authentication and permissions of projects that check more than a header field."""

import asyncio
import threading
from contextvars import ContextVar
from typing import Any, ClassVar

from asgiref.sync import markcoroutinefunction
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.utils import timezone, translation
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from async_reply.permissions import OperationAccess
from async_reply.waiting import tickets

TENANT: ContextVar[str] = ContextVar("tenant", default="")
LOCAL = threading.local()


class Found:
    """The values that the middleware `careless` found in its thread and context."""

    tenants: ClassVar[list[str]] = []
    languages: ClassVar[list[str | None]] = []
    zones: ClassVar[list[str]] = []
    locals: ClassVar[list[str]] = []


def careless(get_response: Any) -> Any:
    """Sets values and does not remove them, like many. On a server no later request finds them."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        Found.tenants.append(TENANT.get())
        Found.languages.append(translation.get_language())
        Found.zones.append(timezone.get_current_timezone_name())
        Found.locals.append(getattr(LOCAL, "user", ""))
        TENANT.set(request.headers.get("X-User", ""))
        translation.activate("de")
        timezone.activate("Asia/Tokyo")
        LOCAL.user = request.headers.get("X-User", "")
        response: HttpResponseBase = get_response(request)
        # A nested request in the same thread would have changed the value.
        assert LOCAL.user == request.headers.get("X-User", "")
        return response

    return middleware


def finding(get_response: Any) -> Any:
    """Sets the user, and whether they have shown a second factor."""

    def middleware(request: Any) -> HttpResponseBase:
        request.user = User.objects.get(pk=request.headers["X-User"])
        request.user.second_factor = request.second_factor = "X-Factor" in request.headers
        response: HttpResponseBase = get_response(request)
        return response

    return middleware


def failing_in_follow_up(get_response: Any) -> Any:
    """Fails for a client that has waited."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if tickets.of(request).is_follow_up:
            raise ZeroDivisionError("error of the project")
        response: HttpResponseBase = get_response(request)
        return response

    return middleware


class LoopMiddleware:
    """Runs only in an event loop, and notes which one."""

    sync_capable = False
    async_capable = True
    loops: ClassVar[list[asyncio.AbstractEventLoop]] = []

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        self.loops.append(asyncio.get_running_loop())
        response: HttpResponseBase = await self.get_response(request)
        return response


class FoundAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Any, None] | None:
        user: Any = request._request.user
        return (user, None) if user.is_active else None

    def authenticate_header(self, request: Request) -> str:
        return "Found"


class HasSecondFactor(BasePermission):
    def has_permission(self, request: Request, view: APIView) -> bool:
        user, http = request.user, request._request
        return bool(getattr(user, "second_factor", 0) and getattr(http, "second_factor", 0))


class FoundAccess(OperationAccess):
    authentication_classes = [FoundAuthentication]
    permission_classes = [HasSecondFactor]


class SignedAuthentication(BaseAuthentication):
    """Checks a signature of method and path, which is good for one request."""

    def authenticate(self, request: Request) -> tuple[User, None]:
        if request.headers.get("X-Signed") != f"{request.method} {request.path}":
            raise AuthenticationFailed
        return User.objects.get(pk=request.headers["X-User"]), None

    def authenticate_header(self, request: Request) -> str:
        return "Signed"


class SignedAccess(OperationAccess):
    authentication_classes = [SignedAuthentication]


def _refusing(make_answer: Any) -> Any:
    """A middleware that passes on only POST requests; `make_answer` makes the other answers."""

    def factory(get_response: Any) -> Any:
        def middleware(request: HttpRequest) -> HttpResponseBase:
            response: HttpResponseBase = (
                get_response(request) if request.method == "POST" else make_answer()
            )
            return response

        return middleware

    return factory


def _fail() -> HttpResponseBase:
    raise ZeroDivisionError


refusing_400 = _refusing(lambda: HttpResponse(status=400))
refusing_401 = _refusing(lambda: HttpResponse(status=401))
refusing_403 = _refusing(lambda: HttpResponse(status=403))
refusing_404 = _refusing(lambda: HttpResponse(status=404))
refusing_429 = _refusing(lambda: HttpResponse(status=429))
refusing_200 = _refusing(lambda: HttpResponse(b"log in"))
refusing_302 = _refusing(lambda: HttpResponseRedirect("/login/"))
refusing_500 = _refusing(_fail)
