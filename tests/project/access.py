"""OperationAccess classes as projects write them, and the authentication that they need."""

from typing import Any, ClassVar

from django.contrib.auth.models import AnonymousUser, User
from django.core import signing
from rest_framework.authentication import (
    BaseAuthentication,
    BasicAuthentication,
    SessionAuthentication,
)
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import (
    AllowAny,
    BasePermission,
    IsAdminUser,
    IsAuthenticated,
)
from rest_framework.request import Request
from rest_framework.views import APIView

from async_reply.models import Operation
from async_reply.permissions import OperationAccess
from async_reply.querysets import OperationQuerySet


class OpenAccess(OperationAccess):
    permission_classes = [AllowAny]


class NamingAccess(OpenAccess):
    """Callers without credentials share one owner."""

    def get_owner(self, request: Request) -> str:
        return super().get_owner(request) or "public"


class BasicAccess(OperationAccess):
    authentication_classes = [SessionAuthentication, BasicAuthentication]


class OrAccess(OperationAccess):
    permission_classes = [IsAdminUser | IsAuthenticated]


class TenantAccess(OperationAccess):
    """The owner is the tenant in a header. All of a tenant see its operations."""

    def get_owner(self, request: Request) -> str:
        return f"tenant:{request.headers.get('X-Tenant', '')}"

    def get_queryset(self, request: Request) -> OperationQuerySet:
        queryset: OperationQuerySet = Operation.objects.filter(owner=self.get_owner(request))
        return queryset


class StatelessUser:
    """The user of a signed token, without a row in the database."""

    is_authenticated = True
    is_active = True

    def __init__(self, subject: str, groups: frozenset[str] = frozenset()) -> None:
        self.pk = subject
        self.groups = groups


class ClaimsAuthentication(BaseAuthentication):
    """Authenticates by the signed claims of an identity provider: `Bearer <signed JSON>`."""

    def authenticate(self, request: Request) -> tuple[StatelessUser, str] | None:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind != "Bearer":
            return None
        try:
            claims = signing.loads(token, salt="claims")
        except signing.BadSignature:
            raise AuthenticationFailed from None
        return StatelessUser(claims["sub"], frozenset(claims.get("groups", ()))), token

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class KeyAuthentication(BaseAuthentication):
    """Authenticates a machine by an API key. The request has no user, only `request.auth`."""

    keys: ClassVar[dict[str, str]] = {"secret-1": "robot", "secret-2": "other"}

    def authenticate(self, request: Request) -> tuple[AnonymousUser, str] | None:
        key = request.headers.get("X-Api-Key")
        if key is None:
            return None
        if key not in self.keys:
            raise AuthenticationFailed
        return AnonymousUser(), self.keys[key]

    def authenticate_header(self, request: Request) -> str:
        return "Api-Key"


class NameAuthentication(BaseAuthentication):
    """Authenticates by a user's id in a header. Unknown ids go to the next authentication."""

    def authenticate(self, request: Request) -> tuple[User, None] | None:
        user = User.objects.filter(pk=request.headers.get("X-User", "0")).first()
        return None if user is None else (user, None)

    def authenticate_header(self, request: Request) -> str:
        return "Name"


class EitherAccess(OperationAccess):
    authentication_classes = [NameAuthentication, SessionAuthentication]


def forward_user(get_response: Any) -> Any:
    """A middleware that reads the user from a header, not from the session."""

    def middleware(request: Any) -> Any:
        request.user = User.objects.get(pk=request.headers["X-User"])
        return get_response(request)

    return middleware


class ForwardedAuthentication(BaseAuthentication):
    """Authenticates the user that a middleware has put on the request."""

    def authenticate(self, request: Request) -> tuple[Any, None] | None:
        user = getattr(request._request, "user", None)
        return (user, None) if user is not None and user.is_authenticated else None


class ForwardedAccess(OperationAccess):
    authentication_classes = [ForwardedAuthentication]


class HasKey(BasePermission):
    def has_permission(self, request: Request, view: APIView) -> bool:
        return bool(request.auth)


class ClaimsAccess(OperationAccess):
    """The owner is the subject of the token. Callers need no row in the database."""

    authentication_classes = [ClaimsAuthentication]

    def get_owner(self, request: Request) -> str:
        return str(request.user.pk) if request.user.is_authenticated else ""


class KeyAccess(OperationAccess):
    authentication_classes = [KeyAuthentication]
    permission_classes = [HasKey]

    def get_owner(self, request: Request) -> str:
        return f"key:{request.auth}" if request.auth else ""


class GroupAccess(ClaimsAccess):
    """The owner is the caller, or the group in a header. Members see a group's operations."""

    def get_owner(self, request: Request) -> str:
        user: Any = request.user
        group = request.headers.get("X-Group", "")
        is_member = user.is_authenticated and group in user.groups
        return f"group:{group}" if is_member else super().get_owner(request)

    def get_queryset(self, request: Request) -> OperationQuerySet:
        user: Any = request.user
        if not user.is_authenticated:
            return Operation.objects.none()
        owners = [str(user.pk), *(f"group:{group}" for group in user.groups)]
        queryset: OperationQuerySet = Operation.objects.filter(owner__in=owners)
        return queryset


class HidingAccess(OperationAccess):
    """Hides all operations by a function that is set on the instance."""

    def __init__(self) -> None:
        def get_queryset(request: Request) -> Any:
            return Operation.objects.none()

        self.get_queryset = get_queryset  # type: ignore[method-assign]
