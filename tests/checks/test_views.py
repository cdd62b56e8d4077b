"""Checks of views that submit: task, attributes, hooks, names and access."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import pytest
from django.core.checks import run_checks
from django.urls import include, path
from pytest_django import Settings
from rest_framework.authentication import BasicAuthentication, SessionAuthentication
from rest_framework.decorators import action
from rest_framework.permissions import AllowAny, IsAdminUser, IsAuthenticated
from rest_framework.test import APIClient
from rest_framework.viewsets import ViewSet

from async_reply.checks.views import ATTRIBUTES
from async_reply.views import LongRunningOperationMixin, LongRunningOperationView
from tests.checks.messages import ids
from tests.project import views


def test_view__without_task(urls: Callable[..., None]) -> None:
    urls(views.NoTaskView)
    assert ids() == ["async_reply.E021"]


def test_view__without_serializer(urls: Callable[..., None]) -> None:
    class Bare(LongRunningOperationView):
        task = views.EchoView.task

    class Chosen(Bare):
        def get_serializer_class(self) -> Any:
            return views.EchoSerializer

    urls(Bare, Chosen)
    assert ids() == ["async_reply.E022"]


def test_view__with_arguments_of_as_view(settings: Settings) -> None:
    class Bare(LongRunningOperationView):
        task = views.EchoView.task

    class Module:
        urlpatterns = [
            path("", include("async_reply.urls")),
            path("a/", Bare.as_view(serializer_class=views.EchoSerializer)),
            path("b/", views.EchoView.as_view(permission_classes=[AllowAny])),
            path(
                "c/",
                views.EchoView.as_view(permission_classes=[AllowAny], location_access="signed"),
            ),
            path(
                "d/",
                views.OpenView.as_view(
                    permission_classes=[IsAuthenticated], location_access="owner"
                ),
            ),
        ]

    settings.ROOT_URLCONF = Module
    assert ids() == ["async_reply.W109"]


@pytest.mark.parametrize(
    ("attribute", "value", "allowed"),
    [
        ("location_access", "sigend", '"owner" or "signed"'),
        ("location_target", "reslut", '"status" or "result"'),
        ("valet_key_scope", ["read"], '"read" or "cancel"'),
        ("redirect_status", 301, "302, 303 or None"),
        ("default_wait", -1, "a whole number of seconds"),
        ("operation_headers", "Operation-Location", "a list of names"),
        ("operation_headers", [7], "a list of names"),
    ],
)
def test_view__with_a_value_that_is_not_allowed(
    urls: Callable[..., None], attribute: str, value: Any, allowed: str
) -> None:
    urls(type("Mistaken", (views.EchoView,), {attribute: value}))
    [message] = run_checks(tags=["async_reply"], databases=[])
    assert message.id == "async_reply.E024"
    assert f"Mistaken.{attribute} is {value!r}" in message.msg
    assert allowed in message.msg


def test_view__with_properties_is_not_judged(urls: Callable[..., None]) -> None:
    chosen = property(lambda view: view.request.chosen)
    names = [*ATTRIBUTES, "serializer_class", "permission_classes", "authentication_classes"]
    urls(type("Choosing", (views.EchoView,), dict.fromkeys(names, chosen)))
    assert ids() == []


def test_view__with_allow_any(urls: Callable[..., None]) -> None:
    class Open(views.EchoView):
        permission_classes = [AllowAny]

    urls(Open, views.OpenView)
    [message] = run_checks(tags=["async_reply"], databases=[])
    assert message.id == "async_reply.W109"
    assert "are then refused" in message.msg


def test_view__that_needs_a_request_is_not_judged(
    urls: Callable[..., None],
) -> None:
    class Hooked(views.EchoView):
        permission_classes = [AllowAny]

        def get_permissions(self) -> Any:
            return [IsAuthenticated()]

        def get_authenticators(self) -> Any:
            return [BasicAuthentication()]

    class Sometimes(views.EchoView):
        permission_classes = [AllowAny]
        location_access = property(lambda self: "signed")

    class Public(LongRunningOperationMixin, ViewSet):
        permission_classes = [AllowAny]

    class Partial(views.EchoView):
        authentication_classes = [partial(SessionAuthentication)]  # type: ignore[list-item]

    urls(Hooked, Sometimes)
    assert ids() == []
    urls(Partial)
    assert ids() == ["async_reply.W105"]


@pytest.mark.django_db
def test_view__with_allow_any_refuses_anonymous_callers(
    urls: Callable[..., None], client_of: Callable[..., APIClient]
) -> None:
    class Open(views.EchoView):
        permission_classes = [AllowAny]

    urls(Open)
    assert client_of().post("/Open/").status_code == 401


def test_view__with_allow_any_and_an_owner_for_each_caller(
    urls: Callable[..., None], settings: Settings
) -> None:
    class Open(views.EchoView):
        permission_classes = [AllowAny]

    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "ACCESS": "tests.project.access.NamingAccess"}
    urls(Open)
    assert ids() == []


@pytest.mark.parametrize(
    ("access", "expected"),
    [("OpenAccess", ["async_reply.W109"]), ("NamingAccess", []), ("OrAccess", [])],
)
def test_view__with_allow_any_of_operation_access(
    urls: Callable[..., None], settings: Settings, access: str, expected: list[str]
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "ACCESS": f"tests.project.access.{access}"}
    urls(views.EchoView, views.SharedView)
    assert ids() == expected


def test_view__with_composed_permissions(urls: Callable[..., None]) -> None:
    class Composed(views.EchoView):
        permission_classes = [IsAdminUser | IsAuthenticated]

    urls(Composed)
    assert ids() == []


def test_view__with_authentication_that_operations_lack(urls: Callable[..., None]) -> None:
    class Basic(views.EchoView):
        authentication_classes = [BasicAuthentication]

    urls(Basic)
    assert ids() == ["async_reply.W105"]
    assert isinstance(Basic().get_authenticators()[0], BasicAuthentication)


def test_view__with_authentication_that_operations_have(
    urls: Callable[..., None], settings: Settings
) -> None:
    class Fewer(views.EchoView):
        authentication_classes = [BasicAuthentication]

    class Signed(views.SharedView):
        authentication_classes = [SessionAuthentication]

    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "ACCESS": "tests.project.access.BasicAccess"}
    urls(Fewer, Signed)
    assert ids() == []


def _orders_with_action(name: str) -> Any:
    """A ViewSet with an action of this name, which the mixin may use, too."""

    def act(self: Any, request: Any, pk: Any = None) -> None: ...

    act.__name__ = name
    decorated = action(detail=True)(cast("Any", act))
    return type("Orders", (LongRunningOperationMixin, ViewSet), {name: decorated})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("submit", "async_reply.E025"),
        ("get_extra", "async_reply.E025"),
        ("get_max_wait", "async_reply.E025"),
        ("perform_submit", "async_reply.E025"),
        ("retention", "async_reply.E024"),
        ("max_wait", "async_reply.E024"),
        ("result_status", "async_reply.E024"),
        ("idempotency_key_required", "async_reply.E024"),
        *[(name, None) for name in ("accept", "hold", "replay", "respond", "once", "ask")],
    ],
)
def test_view__with_an_action_named_like_ours(
    settings: Settings, name: str, expected: str | None
) -> None:
    class Module:
        urlpatterns = [
            path("<int:pk>/", _orders_with_action(name).as_view({"post": name})),
            path("", include("async_reply.urls")),
        ]

    settings.ROOT_URLCONF = Module
    assert ids() == ([] if expected is None else [expected])


def test_view__with_hooks(urls: Callable[..., None]) -> None:
    class Fine(views.EchoView):
        def submit(self, *args: Any, **kwargs: Any) -> Any:
            return super().submit(*args, **kwargs)

        def get_extra(self, request: Any, more: int = 0) -> Any:
            return {}

    class Wrong(views.EchoView):
        def get_extra(self) -> Any:  # type: ignore[override]
            return {}

    class Data(views.EchoView):
        get_input: Any = {"year": 2026}

    class Documented(views.EchoView):
        def post(self, request: Any) -> Any:
            return super().post(request)

        @staticmethod
        def get_input(serializer: Any) -> Any:
            return {}

        @classmethod
        def get_max_wait(cls) -> int:
            return 1

    class Keyed(views.EchoView):
        def post(self, request: Any, *, pk: int) -> Any:
            return super().post(request)

    urls(Fine, Documented, Keyed)
    assert ids() == []
    urls(Wrong, Data)
    messages = run_checks(tags=["async_reply"], databases=[])
    assert [message.id for message in messages] == ["async_reply.E025"] * 2
    assert "get_extra(request)" in messages[0].msg


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("location_acess", "location_access"),
        ("idempotency_key_requried", "idempotency_key_required"),
        ("redirect_staus", "redirect_status"),
        ("get_inputs", "get_input"),
        ("preform_submit", "perform_submit"),
        ("permision_classes", "permission_classes"),
        ("result_serialiser_class", "result_serializer_class"),
        ("retenton", "retention"),
        ("result_serializer", "result_serializer_class"),
        ("idempotency_required", "idempotency_key_required"),
    ],
)
def test_view__with_a_misspelt_name(urls: Callable[..., None], misspelt: str, meant: str) -> None:
    urls(type("Misspelt", (views.EchoView,), {misspelt: None}))
    [message] = run_checks(tags=["async_reply"], databases=[])
    assert (message.id, message.msg) == (
        "async_reply.W116",
        f"Misspelt.{misspelt} means nothing to async_reply.",
    )
    assert str(message.hint).startswith(f"Did you mean {meant}?")


@pytest.mark.parametrize(
    "name",
    [
        *("resubmit", "request_serializer_class", "get_permission_classes", "throttle_scope"),
        *("task_name", "retention_days", "accept_headers", "idempotency_key", "wait_default"),
        *(
            "redirect_url",
            "perform_submission",
            "queryset",
            "filterset_fields",
            "get_extra_actions",
        ),
    ],
)
def test_view__with_its_own_name(urls: Callable[..., None], name: str) -> None:
    urls(type("Own", (views.EchoView,), {name: None}))
    assert ids() == []


def test_view__of_the_mixin_with_other_authentication(
    urls: Callable[..., None], settings: Settings
) -> None:
    """The classes of the view are not those of ACCESS."""

    class Things(LongRunningOperationMixin):
        authentication_classes = [SessionAuthentication]

    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "ACCESS": "tests.project.access.ClaimsAccess"}
    urls(Things)
    assert ids() == ["async_reply.W105"]
    urls(views.EchoView)
    assert ids() == []
