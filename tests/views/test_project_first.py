"""A project's configuration holds on its views and on ours. We replace nothing by weaker rules.

A project configures views by class attributes, `get_*` hooks, `check_*` hooks and `initial`, on the
view or on a class that it inherits from; by `@action(…)` and `as_view(…)`; by REST framework's
defaults, ATOMIC_REQUESTS and the form of errors. The tests try each way on a ViewSet with the mixin
and on the submit view, with the project's class before ours and after it.
"""

import inspect
import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import OperationalError, connection, transaction
from django.urls import include, path
from pytest_django import Settings
from rest_framework import exceptions as drf
from rest_framework import serializers
from rest_framework.authentication import BasicAuthentication
from rest_framework.decorators import action
from rest_framework.generics import GenericAPIView
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.permissions import SAFE_METHODS, AllowAny, BasePermission, IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIClient
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView
from rest_framework.views import exception_handler as drf_handler
from rest_framework.viewsets import ModelViewSet, ViewSet

from async_reply import services
from async_reply.models import Operation
from async_reply.permissions import OperationAccess
from async_reply.querysets import OperationQuerySet
from async_reply.testing import run_operations
from async_reply.views import (
    LongRunningOperationMixin,
    LongRunningOperationView,
    StatusView,
)
from tests.project import tasks
from tests.project.views import EchoSerializer, EchoView

pytestmark = pytest.mark.django_db

Client = Callable[..., APIClient]
PROBLEM = "application/problem+json"
REFERENCE = Path(__file__).parents[2] / "docs/reference.rst"

#: The names of REST framework that our views override. Tests below try each of them.
OVERRIDDEN = {
    LongRunningOperationMixin: set(),
    LongRunningOperationView: {
        "as_view",
        "finalize_response",
        "get_authenticators",
        "dispatch",
        "get_exception_handler",
        "get_permissions",
        "handle_exception",
        "post",
    },
    StatusView: {
        "as_view",
        "content_negotiation_class",
        "delete",
        "determine_version",
        "finalize_response",
        "get",
        "get_authenticators",
        "get_exception_handler",
        "get_object",
        "get_permissions",
        "get_queryset",
        "handle_exception",
        "get_throttles",
        "perform_authentication",
    },
}


@pytest.mark.parametrize("view", OVERRIDDEN)
def test_view__overrides_only_names_that_are_tested_here(view: Any) -> None:
    ours = [cls for cls in view.__mro__ if cls.__module__.startswith("async_reply.")]
    names = {name for cls in ours for name in vars(cls) if not name.startswith("__")}
    handlers = {"get", "post", "delete"}
    assert names & ({*dir(ModelViewSet)} | handlers) == OVERRIDDEN[view]


@pytest.mark.parametrize("view", [LongRunningOperationMixin, LongRunningOperationView])
def test_view__names_without_documentation_start_with_an_underscore(view: Any) -> None:
    """A project's own attribute of such a name must not change what our views do."""
    text = REFERENCE.read_text()
    section = text.partition("\nViews (")[2].partition("\nAccess (")[0]
    documented = set(re.findall(r"``(\w+)", section))
    public = {name for name in dir(view) if not name.startswith("_")}
    annotated = {name for cls in view.__mro__ for name in inspect.get_annotations(cls)}
    public |= {name for name in annotated if not name.startswith("_")}
    from_framework = {*dir(GenericAPIView), "kwargs", "args", "request", "post"}
    assert public - from_framework - documented == set()


class SecondRenderer(DefaultContentNegotiation):
    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[1], renderers[1].media_type


def test_operation__is_negotiated_as_the_project_says(
    default: Callable[[str, Any], None], settings: Settings, user: Any
) -> None:
    pk = services.submit(tasks.echo, owner=str(user.pk)).pk
    default("content_negotiation_class", SecondRenderer)
    page = reading_credentials(user).get(f"/api/operations/{pk}/")
    assert page["Content-Type"] == "text/html; charset=utf-8"


# -- permissions, authentication and throttles


class Full(BaseThrottle):
    """Refuses every request."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        return False


class Closed(BasicAuthentication):
    """Refuses every caller."""

    def authenticate(self, request: Request) -> Any:
        raise drf.AuthenticationFailed


def refuse(*_args: Any, **_kwargs: Any) -> None:
    raise drf.PermissionDenied


#: Name -> what the project's class contains, and the status of its refusal.
RULES: dict[str, tuple[dict[str, Any], int]] = {
    "permission_classes": ({"permission_classes": [IsAdminUser]}, 403),
    "get_permissions": ({"get_permissions": lambda view: [IsAdminUser()]}, 403),
    "check_permissions": ({"check_permissions": refuse}, 403),
    "initial": ({"initial": refuse}, 403),
    "authentication_classes": ({"authentication_classes": [Closed]}, 401),
    "get_authenticators": ({"get_authenticators": lambda view: [Closed()]}, 401),
    "perform_authentication": ({"perform_authentication": refuse}, 403),
    "throttle_classes": ({"throttle_classes": [Full]}, 429),
    "get_throttles": ({"get_throttles": lambda view: [Full()]}, 429),
}
#: The same for the defaults of REST framework.
DEFAULTS: dict[str, tuple[list[Any], int]] = {
    "permission_classes": ([IsAdminUser], 403),
    "authentication_classes": ([Closed], 401),
    "throttle_classes": ([Full], 429),
}


class Things(LongRunningOperationMixin, ViewSet):
    def list(self, request: Request) -> Response:
        return Response([])

    @action(detail=False, methods=["post"])
    def export(self, request: Request) -> Any:
        return self.submit(request, tasks.echo, {})


class Reports(LongRunningOperationView):
    serializer_class = EchoSerializer
    task = tasks.echo


@pytest.fixture
def mount(settings: Settings) -> Callable[..., None]:
    """Put a view at /view/, its list at /list/, and the operations' views at /operations/."""

    class Module:
        urlpatterns: list[Any] = [path("", include("async_reply.urls"))]

    def put(view: Any, **given: Any) -> None:
        if issubclass(view, ViewSet):
            routes = [
                path("view/", view.as_view({"post": "export"}, **given)),
                path("list/", view.as_view({"get": "list"}, **given)),
            ]
        else:
            routes = [path("view/", view.as_view(**given))]
        Module.urlpatterns = [*routes, *Module.urlpatterns[-1:]]
        settings.ROOT_URLCONF = Module

    return put


@pytest.fixture
def default(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Any], None]:
    """Set one of REST framework's defaults, which views read when it is imported."""

    def put(attribute: str, classes: Any) -> None:
        name = f"DEFAULT_{attribute.upper()}"
        listed = classes if isinstance(classes, list) else [classes]
        paths = [f"{cls.__module__}.{cls.__qualname__}" for cls in listed]
        chosen = paths if isinstance(classes, list) else paths[0]
        settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, name: chosen}
        monkeypatch.setattr(APIView, attribute, classes)

    return put


def reading_credentials(user: Any) -> APIClient:
    """A client with a session. Each authentication reads it; `force_authenticate` skips them."""
    client = APIClient()
    client.force_login(user)
    return client


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("base", [Things, Reports])
@pytest.mark.parametrize("side", ["left", "right"])
def test_view__keeps_the_rules_of_a_class_of_the_project(
    mount: Callable[..., None], user: Any, name: str, base: Any, side: str
) -> None:
    members, status = RULES[name]
    company = type("Company", (APIView,), members)
    mount(type("Ours", (company, base) if side == "left" else (base, company), {}))
    client = reading_credentials(user)
    assert client.post("/view/", {}).status_code == status
    if base is Things:
        assert client.get("/list/").status_code == status
    assert not Operation.objects.exists()


@pytest.mark.parametrize("base", [Things, Reports])
@pytest.mark.parametrize("name", DEFAULTS)
def test_view__keeps_the_arguments_of_as_view(
    mount: Callable[..., None], user: Any, name: str, base: Any
) -> None:
    classes, status = DEFAULTS[name]
    mount(base, **{name: classes})
    assert reading_credentials(user).post("/view/", {}).status_code == status


def test_view__keeps_the_arguments_of_an_action(mount: Callable[..., None], user: Any) -> None:
    class Ours(Things):
        @action(detail=False, methods=["post"], permission_classes=[IsAdminUser])
        def closed(self, request: Request) -> Any:
            return self.submit(request, tasks.echo, {})

    extra: Any = Ours.closed
    mount(Ours, **extra.kwargs)
    assert reading_credentials(user).post("/view/", {}).status_code == 403


@pytest.mark.parametrize("base", [Things, Reports])
@pytest.mark.parametrize("name", DEFAULTS)
def test_view__keeps_the_project_s_defaults(
    mount: Callable[..., None],
    default: Callable[[str, Any], None],
    user: Any,
    name: str,
    base: Any,
) -> None:
    classes, status = DEFAULTS[name]
    default(name, classes)
    mount(base)
    client = reading_credentials(user)
    assert client.post("/view/", {}).status_code == status
    if base is Things:
        assert client.get("/list/").status_code == status


@pytest.mark.parametrize("base", [Things, Reports])
def test_view__needs_an_owner_even_with_allow_any(
    mount: Callable[..., None], default: Callable[[str, Any], None], user: Any, base: Any
) -> None:
    default("permission_classes", [AllowAny])
    mount(base)
    assert APIClient().post("/view/", {}).status_code == 401
    assert not Operation.objects.exists()
    assert reading_credentials(user).post("/view/", {}).status_code == 202
    if base is Things:
        assert APIClient().get("/list/").status_code == 200


class StaffAccess(OperationAccess):
    permission_classes = [IsAdminUser]


def test_view__without_rules_of_its_own_follows_access(
    mount: Callable[..., None], settings: Settings, user: Any
) -> None:
    settings.ASYNC_REPLY = {"ACCESS": "tests.views.test_project_first.StaffAccess"}
    mount(Reports)
    assert reading_credentials(user).post("/view/", {}).status_code == 403


# -- the operations' own views

#: Method, end of the URL, and whether it is a poll while the operation is unfinished.
REQUESTS = [
    ("get", "", True),
    ("head", "", True),
    ("get", "monitor/", True),
    ("get", "result/", True),
    ("get", "events/", True),
    ("delete", "", False),
    ("delete", "result/", False),
    ("post", "cancel/", False),
]


@pytest.mark.parametrize(("method", "end", "polls"), REQUESTS)
@pytest.mark.parametrize("name", DEFAULTS)
def test_operation__keeps_the_project_s_defaults(
    default: Callable[[str, Any], None],
    user: Any,
    name: str,
    method: str,
    end: str,
    polls: bool,
) -> None:
    pk = services.submit(tasks.echo, owner=str(user.pk)).pk
    classes, status = DEFAULTS[name]
    default(name, classes)
    answer = getattr(reading_credentials(user), method)(f"/api/operations/{pk}/{end}")
    if name == "throttle_classes" and polls:
        assert answer.status_code in (200, 202)
    else:
        assert answer.status_code == status
        assert Operation.objects.get().status == "pending"


@pytest.mark.parametrize("name", DEFAULTS)
def test_list__keeps_the_project_s_defaults(
    default: Callable[[str, Any], None], user: Any, name: str
) -> None:
    classes, status = DEFAULTS[name]
    default(name, classes)
    assert reading_credentials(user).get("/api/operations/").status_code == status


def test_result__of_a_finished_operation_is_no_poll(
    default: Callable[[str, Any], None], user: Any
) -> None:
    pk = services.submit(tasks.echo, owner=str(user.pk)).pk
    run_operations()
    default("throttle_classes", [Full])
    client = reading_credentials(user)
    assert client.get(f"/api/operations/{pk}/").status_code == 302
    assert client.get(f"/api/operations/{pk}/monitor/").status_code == 200
    refused = client.get(f"/api/operations/{pk}/result/")
    assert (refused.status_code, refused["Content-Type"]) == (429, PROBLEM)
    assert int(refused["Retry-After"]) >= 1


@pytest.mark.parametrize("end", ["", "x/", "x/monitor/", "x/result/", "x/events/"])
def test_operation__needs_an_owner_even_with_allow_any(
    default: Callable[[str, Any], None], user: Any, end: str
) -> None:
    pk = services.submit(tasks.echo, owner=str(user.pk)).pk
    default("permission_classes", [AllowAny])
    url = f"/api/operations/{end.replace('x', str(pk))}"
    assert APIClient().get(url).status_code == 401
    assert reading_credentials(user).get(url).status_code in (200, 202)


class ReadOnly(BasePermission):
    """Lets everybody read, and the owner do the rest."""

    def has_object_permission(self, request: Request, view: APIView, obj: Any) -> bool:
        return request.method in SAFE_METHODS or bool(obj.owner == str(request.user.pk))


class Hidden(BasePermission):
    def has_object_permission(self, request: Request, view: APIView, obj: Any) -> bool:
        return bool(obj.owner == str(request.user.pk))


class TeamAccess(OperationAccess):
    permission_classes = [ReadOnly]

    def get_queryset(self, request: Request) -> OperationQuerySet:
        queryset: OperationQuerySet = Operation.objects.all()
        return queryset


class HiddenAccess(TeamAccess):
    permission_classes = [Hidden]


@pytest.mark.parametrize(("method", "end", "polls"), REQUESTS)
@pytest.mark.parametrize("finished", [False, True])
def test_operation__checks_object_permissions(
    settings: Settings,
    user: Any,
    stranger: Any,
    method: str,
    end: str,
    polls: bool,
    finished: bool,
) -> None:
    operation = services.submit(tasks.echo, owner=str(user.pk))
    if finished:
        run_operations()
    url = f"/api/operations/{operation.pk}/{end}"
    settings.ASYNC_REPLY = {"ACCESS": "tests.views.test_project_first.TeamAccess"}
    answer = getattr(reading_credentials(stranger), method)(url)
    assert answer.status_code == 403 if not polls else answer.status_code < 400
    settings.ASYNC_REPLY = {"ACCESS": "tests.views.test_project_first.HiddenAccess"}
    assert getattr(reading_credentials(stranger), method)(url).status_code == 403
    assert getattr(reading_credentials(user), method)(url).status_code in (200, 202, 204, 302, 409)


@pytest.mark.parametrize("end", ["", "monitor/", "events/"])
@pytest.mark.parametrize("finished", [False, True])
def test_links__allow_no_more_than_the_caller_s_permissions(
    settings: Settings, user: Any, stranger: Any, end: str, finished: bool
) -> None:
    """No cancel link and no valet key for a cancel."""
    client = reading_credentials(user)
    location = client.post("/open/", {})["Location"].partition("?")[0]
    if finished:
        run_operations()
    settings.ASYNC_REPLY = {"ACCESS": "tests.views.test_project_first.TeamAccess"}
    for caller, allows in ((user, True), (stranger, False)):
        answer = reading_credentials(caller).get(f"{location}{end}")
        text = f"{answer.headers} {b''.join(answer).decode()}"
        assert ("sig=cancel." in text) is allows
        assert ("/cancel/" in text) is (allows and not finished)


# -- transactions and the form of errors


def in_envelope(error: Exception, context: Any) -> Response:
    return Response({"envelope": str(error)}, 418)


@pytest.mark.parametrize("base", [Things, Reports])
@pytest.mark.parametrize("side", ["left", "right"])
def test_error__keeps_the_form_of_a_class_of_the_project(
    mount: Callable[..., None], base: Any, side: str
) -> None:
    members = {"get_exception_handler": lambda view: in_envelope}
    company = type("Company", (APIView,), members)
    mount(type("Ours", (company, base) if side == "left" else (base, company), {}))
    answer = APIClient().post("/view/", {})
    assert (answer.status_code, answer["Content-Type"]) == (418, "application/json")
    assert list(answer.json()) == ["envelope"]


class NameSerializer(serializers.ModelSerializer[Group]):
    class Meta:
        model = Group
        fields = ("id", "name")


class Groups(LongRunningOperationMixin, ModelViewSet[Group]):
    queryset = Group.objects.order_by("pk")
    serializer_class = NameSerializer

    def perform_create(self, serializer: Any) -> None:
        serializer.save()
        if serializer.instance.name == "broken":
            raise KeyError("defect")

    @action(detail=False, methods=["post"])
    def export(self, request: Request) -> Any:
        Group.objects.create(name="exported")
        answer = self.submit(request, tasks.echo, {})
        if request.query_params:
            raise KeyError("defect")
        return answer


@pytest.mark.parametrize("base", [Things, Reports])
@pytest.mark.parametrize("side", ["left", "right"])
def test_error__of_ours_keeps_its_status_beside_the_project_s_form(
    mount: Callable[..., None], settings: Settings, user: Any, base: Any, side: str
) -> None:
    company = type("Company", (APIView,), {"get_exception_handler": lambda view: drf_handler})
    mount(type("Ours", (company, base) if side == "left" else (base, company), {}))
    client = reading_credentials(user)
    assert client.post("/view/", {}, headers={"Idempotency-Key": ""}).status_code == 400
    settings.ASYNC_REPLY = {"MAX_UNFINISHED": 1}
    services.submit(tasks.echo, owner=str(user.pk))
    refused = client.post("/view/", {})
    assert (refused.status_code, refused["Content-Type"]) == (429, PROBLEM)


@pytest.fixture
def groups(settings: Settings, user: Any) -> APIClient:
    class Module:
        urlpatterns = [
            path("groups/", Groups.as_view({"get": "list", "post": "create"})),
            path("export/", Groups.as_view({"post": "export"})),
            path("", include("async_reply.urls")),
        ]

    settings.ROOT_URLCONF = Module
    client = APIClient(raise_request_exception=False)
    client.force_authenticate(user)
    return client


@pytest.fixture
def _atomic_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)


@pytest.mark.parametrize(
    ("method", "url", "body", "status"),
    [
        ("get", "/api/operations/unknown/", None, 404),
        ("get", "/api/operations/?status=x", None, 400),
        ("post", "/api/operations/unknown/cancel/", {}, 404),
        ("post", "/echoes/", {"number": "x"}, 400),
        ("put", "/echoes/", {}, 405),
    ],
)
@pytest.mark.parametrize("key", ["", "k"])
@pytest.mark.usefixtures("_atomic_requests")
def test_error__keeps_the_transaction_of_a_test(
    method: str,
    url: str,
    body: Any,
    status: int,
    key: str,
    api: APIClient,
) -> None:
    """Under ATOMIC_REQUESTS a test goes on with its database after an answer 4xx."""
    answer = getattr(api, method)(url, body, headers={"Idempotency-Key": key})
    assert answer.status_code == (400 if url == "/echoes/" and method == "post" else status)
    assert Group.objects.count() == 0
    answer = api.post("/echoes/", {"number": 7}, headers={"Idempotency-Key": "another"})
    assert answer.status_code == 202


def test_error__of_an_action_keeps_its_form(groups: APIClient) -> None:
    answer = groups.post("/groups/", {})
    assert answer.status_code == 400
    assert answer.json() == {"name": ["This field is required."]}
    assert answer["Content-Type"] == "application/json"
    assert groups.get("/groups/")["Vary"] == "Accept"
    assert groups.put("/groups/", {}).json() == {"detail": 'Method "PUT" not allowed.'}


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_atomic_requests")
def test_transaction__of_a_failed_request_keeps_nothing(
    groups: APIClient, broker: list[str]
) -> None:
    assert groups.post("/groups/", {"name": "broken"}).status_code == 500
    assert groups.post("/export/?defect", {}).status_code == 500
    assert (Group.objects.count(), Operation.objects.count(), broker) == (0, 0, [])
    accepted = groups.post("/export/", {})
    assert accepted.status_code == 202
    assert (Group.objects.count(), broker) == (1, [accepted.json()["id"]])


class PuttingView(EchoView):
    def put(self, request: Request) -> Response:
        Group.objects.create(name="put")
        raise drf.ValidationError("No.")


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_atomic_requests")
def test_transaction__of_put_on_a_submit_view_is_the_project_s(
    mount: Callable[..., None], user: Any
) -> None:
    mount(PuttingView)
    assert reading_credentials(user).put("/view/", {}).status_code == 400
    assert not Group.objects.exists()


class AtomicView(EchoView):
    """Its transaction is the project's own, beside ATOMIC_REQUESTS."""

    @transaction.atomic
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Any:
        Group.objects.create(name="post")
        return super().post(request, *args, **kwargs)


@pytest.mark.parametrize("is_in_test_case", [True, False])
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_atomic_requests")
def test_transaction__of_the_project_is_rolled_back_for_a_refusal(
    is_in_test_case: bool, mount: Callable[..., None], user: Any
) -> None:
    mount(AtomicView)
    key = {"Idempotency-Key": ""}
    with transaction.atomic() if is_in_test_case else nullcontext():
        assert reading_credentials(user).post("/view/", {}, headers=key).status_code == 400
        assert not Group.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_atomic_requests")
@pytest.mark.parametrize("numbers", [1, 3])
def test_transaction__keeps_operations_with_a_receipt(
    mount: Callable[..., None], settings: Settings, user: Any, numbers: int
) -> None:
    """A request submits several operations. A refused one rolls none of the others back."""

    class Several(LongRunningOperationMixin, ViewSet):
        @action(detail=False, methods=["post"])
        def export(self, request: Request) -> Any:
            answers = [self.submit(request, tasks.echo, {"number": n}) for n in range(numbers)]
            return Response([answer.status_code for answer in answers])

        def list(self, request: Request) -> Response:
            return Response([])

    settings.ASYNC_REPLY = {"MAX_UNFINISHED": 2}
    mount(Several)
    key = {"Idempotency-Key": "k"}
    first = reading_credentials(user).post("/view/", {}, headers=key)
    assert first.json() == [202, 202, 429][:numbers]
    assert Operation.objects.count() == min(numbers, 2)
    again = reading_credentials(user).post("/view/", {}, headers=key)
    assert again.json() == first.json()
    assert Operation.objects.count() == min(numbers, 2)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_atomic_requests")
def test_transaction__of_a_refused_submit_is_rolled_back(
    groups: APIClient, settings: Settings, user: Any
) -> None:
    settings.ASYNC_REPLY = {"MAX_UNFINISHED": 1}
    services.submit(tasks.echo, owner=str(user.pk))
    refused = groups.post("/export/", {})
    assert (refused.status_code, refused["Content-Type"]) == (429, PROBLEM)
    assert refused["Vary"] == "Accept, Authorization, Cookie, Prefer"
    assert not Group.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_atomic_requests")
def test_transaction__is_not_held_during_a_wait(groups: APIClient) -> None:
    """Nothing can change while the transaction is open, so the 202 comes at once."""
    answer = groups.post("/export/", {}, headers={"Prefer": "wait=30"})
    assert (answer.status_code, Operation.objects.count()) == (202, 1)
    assert not transaction.get_connection().in_atomic_block


def test_submit__without_a_database_is_503(
    groups: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: Any, **_kwargs: Any) -> Any:
        raise OperationalError("connection refused")

    monkeypatch.setattr(services, "accept", fail)
    answer = groups.post("/export/", {})
    assert (answer.status_code, answer["Content-Type"]) == (503, PROBLEM)
    assert answer["Retry-After"] == "5"


def test_submit__refusal_is_a_page_for_html(
    groups: APIClient, settings: Settings, user: Any
) -> None:
    settings.ASYNC_REPLY = {"MAX_UNFINISHED": 1}
    services.submit(tasks.echo, owner=str(user.pk))
    page = groups.post("/export/", {}, headers={"Accept": "text/html"})
    assert (page.status_code, page["Content-Type"]) == (429, "text/html; charset=utf-8")
