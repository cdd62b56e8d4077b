"""Checks of the classes and handlers of views that submit."""

from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from pytest_django import Settings
from rest_framework.decorators import action
from rest_framework.permissions import (
    AllowAny,
    DjangoModelPermissions,
    DjangoObjectPermissions,
    IsAdminUser,
    IsAuthenticated,
)
from rest_framework.viewsets import ViewSet

from async_reply.models import Operation
from async_reply.permissions import OperationAccess
from async_reply.views import LongRunningOperationMixin
from tests.checks.messages import ids
from tests.project.views import EchoSerializer, EchoView


async def coroutine(*_args: Any) -> None: ...


async def handler(self: Any, request: Any) -> None: ...


async def hook(self: Any, operation: Any) -> None: ...


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"serializer_class": EchoSerializer()}, ["async_reply.E030"]),
        ({"serializer_class": "tests.project.views.EchoSerializer"}, ["async_reply.E030"]),
        ({"serializer_class": int}, ["async_reply.E030"]),
        ({"result_serializer_class": EchoSerializer(many=True)}, ["async_reply.E030"]),
        ({"serializer_class": property(lambda self: EchoSerializer)}, []),
        ({"permission_classes": IsAuthenticated}, ["async_reply.E027"]),
        ({"permission_classes": ["rest_framework.permissions.X"]}, ["async_reply.E027"]),
        ({"permission_classes": [IsAuthenticated()]}, ["async_reply.E027"]),
        ({"permission_classes": (IsAuthenticated,)}, []),
        ({"permission_classes": [IsAuthenticated | IsAdminUser]}, []),
        ({"permission_classes": property(lambda self: [])}, []),
        ({"parser_classes": "rest_framework.parsers.JSONParser"}, ["async_reply.E027"]),
        ({"throttle_classes": []}, []),
        ({"post": handler}, ["async_reply.E028"]),
        ({"perform_submit": hook}, ["async_reply.E028"]),
        ({"get_input": hook}, ["async_reply.E028"]),
        ({"get_extra": hook}, ["async_reply.E028"]),
        ({"task": property(lambda self: EchoView.task)}, []),
    ],
)
def test_view__names_classes_and_plain_functions(
    attributes: dict[str, Any], expected: list[str], urls: Callable[..., None]
) -> None:
    urls(type("OwnView", (EchoView,), attributes))
    assert ids() == expected


def test_action__is_no_coroutine(urls: Callable[..., None]) -> None:
    class Actions(LongRunningOperationMixin, ViewSet):
        @action(detail=False, methods=["post"])  # type: ignore[type-var]  # mypy refuses it, too
        async def export(self, request: Any) -> None: ...

    mounted = type("Mounted", (Actions,), {"as_view": lambda: Actions.as_view({"post": "export"})})
    urls(mounted)
    assert ids() == ["async_reply.E028"]


def test_view__that_an_async_framework_awaits(urls: Callable[..., None]) -> None:
    framework = type("APIView", (), {"__module__": "adrf.views"})
    urls(type("OwnView", (EchoView, framework), {"post": handler}))
    assert ids() == []


def test_webhook__needs_its_app(urls: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    urls(type("OwnView", (EchoView,), {"webhook": True}))
    assert ids() == []
    is_installed = apps.is_installed
    monkeypatch.setattr(
        apps, "is_installed", lambda name: "webhooks" not in name and is_installed(name)
    )
    assert ids() == ["async_reply.E029"]


class OwnModelPermissions(DjangoModelPermissions):
    def has_permission(self, request: Any, view: Any) -> bool:
        return True


@pytest.mark.parametrize(
    ("permission", "attributes", "expected"),
    [
        (DjangoModelPermissions, {}, ["async_reply.E026"]),
        (DjangoObjectPermissions, {}, ["async_reply.E026"]),
        (IsAdminUser | DjangoModelPermissions, {}, ["async_reply.E026"]),
        (~(IsAdminUser & DjangoModelPermissions), {}, ["async_reply.E026"]),
        (DjangoModelPermissions, {"queryset": Operation.objects.all()}, []),
        (DjangoModelPermissions, {"get_queryset": lambda self: None}, []),
        (DjangoModelPermissions, {"get_permissions": lambda self: []}, []),
        (OwnModelPermissions, {}, []),
        (IsAdminUser, {}, []),
    ],
)
@pytest.mark.parametrize("on_view", [False, True])
def test_permissions__of_a_model_need_a_queryset(
    on_view: bool,
    permission: Any,
    attributes: dict[str, Any],
    expected: list[str],
    urls: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if on_view:
        attributes = {**attributes, "permission_classes": [permission]}
    else:
        monkeypatch.setattr(OperationAccess, "permission_classes", [permission])
    urls(type("OwnView", (EchoView,), attributes))
    assert ids() == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, ["async_reply.W118"]),
        ({"authentication_classes": []}, ["async_reply.W118"]),
        ({"authentication_classes": [], "permission_classes": [AllowAny]}, ["async_reply.W118"]),
        ({"get_authenticators": lambda self: []}, []),
        ({"authentication_classes": [], "location_access": "signed"}, []),
    ],
)
def test_authentication__is_by_some_class(
    attributes: dict[str, Any],
    expected: list[str],
    urls: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(OperationAccess, "authentication_classes", [])
    urls(type("OwnView", (EchoView,), attributes))
    assert ids() == expected


def test_authentication__of_the_project_s_own_owner(
    urls: Callable[..., None], settings: Settings
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "ACCESS": f"{__name__}.ByHeader"}
    urls(EchoView)
    assert ids() == []


class ByHeader(OperationAccess):
    authentication_classes = []

    def get_owner(self, request: Any) -> str:
        return str(request.headers.get("X-Tenant", ""))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("permission_classes", IsAuthenticated),
        ("permission_classes", [IsAuthenticated()]),
        ("authentication_classes", ["rest_framework.authentication.TokenAuthentication"]),
        ("throttle_classes", "UserRateThrottle"),
        ("poll_throttle_classes", None.__class__),
    ],
)
def test_access__has_lists_of_classes(
    name: str,
    value: Any,
    urls: Callable[..., None],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "ACCESS": f"{__name__}.Own"}
    monkeypatch.setattr(Own, name, value, raising=False)
    urls(EchoView)
    assert ids() == ["async_reply.E031"]


def test_access__with_hooks_of_its_own(urls: Callable[..., None], settings: Settings) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "ACCESS": f"{__name__}.Hooked"}
    urls(EchoView)
    assert ids() == []


class Own(OperationAccess):
    """A test sets one of its attributes."""


class Hooked(OperationAccess):
    """A check has no request."""

    def get_permissions(self) -> list[Any]:
        raise RuntimeError("There is no request.")

    def get_authenticators(self) -> list[Any]:
        raise RuntimeError("There is no request.")
