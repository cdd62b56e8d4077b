import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from celery import current_app
from django.core.checks import CheckMessage, run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.db import connection
from django.urls import include, path
from pytest_django import Settings
from rest_framework.authentication import BasicAuthentication, SessionAuthentication
from rest_framework.decorators import action
from rest_framework.permissions import AllowAny, IsAdminUser, IsAuthenticated
from rest_framework.test import APIClient
from rest_framework.versioning import NamespaceVersioning, URLPathVersioning
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from async_reply import conf, cors, tasks
from async_reply import urls as ours
from async_reply.checks import celery, databases, pools
from async_reply.checks import celery as celery_checks
from async_reply.checks.views import ATTRIBUTES
from async_reply.permissions import OperationAccess
from async_reply.storage import operation_storage
from async_reply.views import LongRunningOperationMixin, LongRunningOperationView
from tests.conftest import configure_celery
from tests.project import views

ROOT = Path(__file__).parents[2]


def ids(**options: Any) -> list[str]:
    """The ids of our own messages, sorted."""
    found: list[CheckMessage] = run_checks(tags=["async_reply"], **{"databases": [], **options})
    return sorted(str(message.id) for message in found)


@pytest.fixture
def urls(settings: Settings) -> Callable[..., None]:
    """Mount view classes in place of the project's URLs, with or without the operations'."""

    class Module:
        urlpatterns: list[Any] = []

    def mount(*classes: Any, operations: bool = True) -> None:
        Module.urlpatterns = [path(f"{cls.__name__}/", cls.as_view()) for cls in classes]
        if operations:
            Module.urlpatterns.append(path("", include("async_reply.urls")))
        settings.ROOT_URLCONF = Module

    return mount


def test_project__has_nothing_to_complain_of() -> None:
    assert ids() == []
    assert ids(include_deployment_checks=True) == []


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        ([], ["async_reply.E010"]),
        ({"LEESE": 3}, ["async_reply.E011"]),
        ({"LEASE": "long"}, ["async_reply.E012"]),
        ({"BATCH": 0, "MAX_INPUT": -1}, ["async_reply.E012", "async_reply.E012"]),
        ({"REDIRECT_HOSTS": "example.org"}, ["async_reply.E012"]),
        ({"REDIRECT_HOSTS": 7}, ["async_reply.E012"]),
        ({"POLL_RATE": 7}, ["async_reply.E012"]),
        ({"STORAGE": "nowhere"}, ["async_reply.E013"]),
        ({"STORAGE": ["default"]}, ["async_reply.E012"]),
        ({"ACCESS": "nowhere.Access"}, ["async_reply.E014"]),
        ({"ACCESS": "tests.project.broken.Access"}, ["async_reply.E014"]),
        ({"ACCESS": "rest_framework.permissions"}, ["async_reply.E018"]),
        ({"ACCESS": "tests.project.access.StatelessUser"}, ["async_reply.E018"]),
        ({"ACCESS": "tests.project.access.TenantAccess"}, []),
        ({"NOTIFY": "carrier pigeon"}, ["async_reply.E012"]),
        ({"MAX_WAIT": -1, "WAIT_THREADS": 0.5}, ["async_reply.E012", "async_reply.E012"]),
        ({"SIGNED_URL": "nowhere.sign"}, ["async_reply.E016"]),
        ({"SIGNED_URL": "tests.project.broken.sign"}, ["async_reply.E016"]),
        ({"SIGNED_URL": 7}, ["async_reply.E012"]),
    ],
)
def test_settings(settings: Settings, configured: Any, expected: list[str]) -> None:
    settings.ASYNC_REPLY = configured
    found = [each for each in ids() if each.startswith("async_reply.E01")]
    assert found == expected


def test_settings__each_default_is_valid() -> None:
    assert conf.DEFAULTS.keys() == conf.VALID.keys()
    assert [key for key, value in conf.DEFAULTS.items() if not conf.VALID[key][0](value)] == []


def test_storage__that_web_servers_publish(settings: Settings) -> None:
    settings.ASYNC_REPLY = {"STORAGE": "default"}
    assert ids(include_deployment_checks=True) == ["async_reply.W104"]
    settings.ASYNC_REPLY = {"STORAGE": "nowhere"}
    assert ids(include_deployment_checks=True) == ["async_reply.E013"]


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        ({"STORAGE": "nowhere"}, "E013"),
        ({"STORAGE": ["default"]}, "E012"),
        ([], "E010"),
        (None, "E010"),
    ],
)
def test_settings__that_models_load_with(tmp_path: Path, configured: Any, expected: str) -> None:
    lines = ["from tests.settings import *", f"ASYNC_REPLY = {configured!r}"]
    (tmp_path / "mistaken.py").write_text("\n".join(lines))
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--tag", "async_reply"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, "DJANGO_SETTINGS_MODULE": "mistaken"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert re.findall(r"async_reply\.(E\d+)", done.stderr) == [expected], done.stderr


def test_storage__that_nothing_names_keeps_nothing(settings: Settings) -> None:
    settings.ASYNC_REPLY = {"STORAGE": "nowhere"}
    storage = operation_storage()
    with pytest.raises(ImproperlyConfigured, match="STORAGE"):
        storage.save("name", ContentFile(b"private"))
    with pytest.raises(ImproperlyConfigured, match="STORAGE"):
        storage.open("name")


@pytest.mark.parametrize(("size", "expected"), [(0, ["async_reply.W108"]), (1024 * 1024, [])])
def test_storage__that_holds_files_in_memory(
    settings: Settings, size: int, expected: list[str]
) -> None:
    pytest.importorskip("storages.backends.s3", reason="needs the extra s3")
    options = {"bucket_name": "x", "max_memory_size": size}
    s3 = {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}
    settings.STORAGES = {**settings.STORAGES, "operations": s3}
    assert ids(include_deployment_checks=True) == expected


def test_celery__default_app(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery_checks, "_is_default_app", lambda: True)
    assert ids() == ["async_reply.E001"]


def test_celery__transport_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_celery(monkeypatch, broker_transport="demo_project.nowhere:Transport")
    assert ids() == ["async_reply.E002"]


@pytest.mark.parametrize(
    "accepted", [["json", "pickle"], ["json", "application/x-python-serialize"], None]
)
def test_celery__pickle(monkeypatch: pytest.MonkeyPatch, accepted: list[str] | None) -> None:
    configure_celery(monkeypatch, accept_content=accepted)
    [found] = run_checks(tags=["async_reply"], databases=[])
    assert found.id == "async_reply.E003"
    assert 'CELERY_TASK_SERIALIZER = "json"' in str(found.hint)


@pytest.mark.parametrize(
    ("written", "read", "expected"),
    [
        ("json", ["application/json"], []),
        ("application/json", ["json"], []),
        ("yaml", ["json"], ["async_reply.E006"]),
        ("pickle", ["json"], ["async_reply.E006"]),
        ("json", ["yaml"], ["async_reply.E006"]),
        ("papyrus", ["json"], ["async_reply.E006"]),
    ],
)
def test_celery__messages_that_workers_do_not_read(
    monkeypatch: pytest.MonkeyPatch, written: str, read: list[str], expected: list[str]
) -> None:
    configure_celery(monkeypatch, task_serializer=written)
    configure_celery(monkeypatch, accept_content=read)
    assert ids() == expected


def test_celery__kind_declared_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tasks.registered, "twice", [ids, urls])
    assert ids() == ["async_reply.E004"]


def test_celery__tasks_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks.discover.cache_clear()
    monkeypatch.setattr(current_app.loader, "default_modules", ["tests.nowhere"])
    assert ids() == ["async_reply.E005"]


def test_celery__slow_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_celery(monkeypatch, db_reuse_max=None)
    configure_celery(monkeypatch, worker_prefetch_multiplier=4)
    assert ids() == ["async_reply.W101", "async_reply.W102"]


def test_celery__hint_names_the_setting_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_celery(monkeypatch, worker_prefetch_multiplier=4)
    [found] = run_checks(tags=["async_reply"], databases=[])
    assert "CELERY_WORKER_DISABLE_PREFETCH = True" in str(found.hint)


@pytest.mark.parametrize(("reuse", "expected"), [(None, []), (1000, ["async_reply.W133"])])
def test_celery__connections_of_green_threads_are_not_to_be_kept(
    reuse: int | None, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_celery(monkeypatch, db_reuse_max=reuse)
    monkeypatch.setitem(current_app.conf, "worker_pool", "gevent")
    told = set(ids()) - {"async_reply.W131", "async_reply.W132"}
    assert sorted(told) == expected


@pytest.mark.parametrize(
    ("zone", "use_tz", "expected"),
    [
        ("Asia/Kolkata", True, []),
        ("UTC", False, []),
        ("Asia/Kolkata", False, ["async_reply.W122"]),
        # In winter its time is UTC.
        ("Europe/London", False, ["async_reply.W122"]),
        ("Etc/UTC", False, []),
        ("GMT", False, []),
    ],
)
def test_time_zone__that_the_database_s_own_times_are_not_in(
    settings: Settings, zone: str, use_tz: bool, expected: list[str]
) -> None:
    settings.TIME_ZONE, settings.USE_TZ = zone, use_tz
    assert ids() == ([] if connection.vendor == "postgresql" else expected)


@pytest.mark.parametrize(
    ("zone", "expected"), [("America/New_York", ["async_reply.W122"]), ("UTC", []), (None, [])]
)
def test_time_zone__of_a_database_s_own(
    monkeypatch: pytest.MonkeyPatch, zone: str | None, expected: list[str]
) -> None:
    monkeypatch.setitem(connection.settings_dict, "TIME_ZONE", zone)
    monkeypatch.setattr(connection, "timezone_name", zone or "UTC")
    assert ids() == ([] if connection.vendor == "postgresql" else expected)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("read committed", []),
        ("READ COMMITTED", []),
        ("repeatable read", ["async_reply.W120"]),
        (None, ["async_reply.W120"]),
    ],
)
def test_isolation__of_mariadb(
    level: str | None, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**connection.settings_dict["OPTIONS"], "isolation_level": level}
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
    assert ids() == (expected if connection.vendor == "mysql" else [])


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ({}, ["async_reply.W141"]),
        ({"CORS_ALLOW_HEADERS": ["accept", *cors.ALLOWED]}, []),
        ({"CORS_ALLOW_HEADERS": cors.ALLOWED, "CORS_EXPOSE_HEADERS": []}, []),
        ({"CORS_ALLOW_HEADERS": cors.ALLOWED, "CORS_EXPOSE_HEADERS": cors.EXPOSED}, []),
        ({"CORS_ALLOW_HEADERS": ["Prefer"], "CORS_EXPOSE_HEADERS": ["X-Mine"]},
         ["async_reply.W140", "async_reply.W141"]),
    ],
)  # fmt: skip
def test_cors__lists_of_django_cors_headers(
    lists: dict[str, Any], expected: list[str], settings: Settings
) -> None:
    settings.MIDDLEWARE = ["corsheaders.middleware.CorsMiddleware", *settings.MIDDLEWARE]
    for name, value in lists.items():
        setattr(settings, name, value)
    assert ids() == expected


def test_cors__says_which_headers(settings: Settings) -> None:
    settings.MIDDLEWARE = ["corsheaders.middleware.CorsMiddleware"]
    settings.CORS_ALLOW_HEADERS = ["Prefer", "last-event-id"]
    [found] = run_checks(tags=["async_reply"], databases=[])
    assert "the headers idempotency-key, if-none-match." in found.msg


@pytest.mark.django_db
def test_order_of_ids__is_that_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ids(databases=["default"]) == []
    # Of the first version, these are sorted by their ends on any MariaDB.
    swapped = [text.replace("-7", "-1") for text in databases.IDS_IN_ORDER]
    monkeypatch.setattr(databases, "IDS_IN_ORDER", swapped)
    expected = ["async_reply.W121"] if connection.vendor == "mysql" else []
    assert ids(databases=["default"]) == expected
    assert ids() == []


def test_celery__pool_that_cannot_do_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(current_app.conf, "worker_pool", "threads")
    assert ids() == ["async_reply.W130"]


def test_urls__operations_missing(urls: Callable[..., None]) -> None:
    urls(views.EchoView, operations=False)
    assert ids() == ["async_reply.E020"]


class Plain:
    urlpatterns = [
        path("echoes/", views.EchoView.as_view()),
        path("", include("async_reply.urls")),
    ]


class ByNamespace:
    urlpatterns = [
        path("v1/", include((Plain.urlpatterns, "v1"), namespace="v1")),
        path("v2/", include((Plain.urlpatterns, "v2"), namespace="v2")),
    ]


class ByPath:
    urlpatterns = [path("api/<str:version>/", include(Plain.urlpatterns))]


class Nameless:
    """The operations' URLs are called otherwise than the setting says."""

    urlpatterns = [
        path("echoes/", views.EchoView.as_view()),
        path("own/<str:id>/", views.EchoView.as_view(), name="status"),
        path("v1/", include((ours.urlpatterns, "other"))),
    ]


@pytest.mark.parametrize(
    ("urls", "scheme", "expected"),
    [
        (ByNamespace, NamespaceVersioning, []),
        (ByPath, URLPathVersioning, []),
        (Plain, NamespaceVersioning, []),
        (Nameless, NamespaceVersioning, ["async_reply.E020"]),
        (Nameless, URLPathVersioning, ["async_reply.E020"]),
        # Nothing brings the version along.
        (ByNamespace, None, ["async_reply.E020"]),
        (ByPath, None, ["async_reply.E020"]),
    ],
)
def test_urls__operations_below_a_version(
    urls: type[Any],
    scheme: type[Any] | None,
    expected: list[str],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(APIView, "versioning_class", scheme)
    settings.ROOT_URLCONF = urls
    assert ids() == expected


def test_urls__project_without_submits_needs_none(urls: Callable[..., None]) -> None:
    urls(operations=False)
    assert ids() == []


def test_urls__project_without_urlconf(settings: Settings) -> None:
    settings.ROOT_URLCONF = None
    assert ids() == []


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
        ("redirect_status", 301, "302 or 303"),
        ("operation_headers", "Operation-Location", "a list of names"),
        ("operation_headers", [7], "a list of names"),
    ],
)
def test_view__with_an_attribute_that_is_not_allowed(
    urls: Callable[..., None], attribute: str, value: Any, allowed: str
) -> None:
    urls(type("Mistaken", (views.EchoView,), {attribute: value}))
    [found] = run_checks(tags=["async_reply"], databases=[])
    assert found.id == "async_reply.E024"
    assert f"Mistaken.{attribute} is {value!r}" in found.msg
    assert allowed in found.msg


def test_view__whose_attributes_ask_the_request(urls: Callable[..., None]) -> None:
    chosen = property(lambda view: view.request.chosen)
    names = [*ATTRIBUTES, "serializer_class", "permission_classes", "authentication_classes"]
    urls(type("Choosing", (views.EchoView,), dict.fromkeys(names, chosen)))
    assert ids() == []


def test_view__for_anybody(urls: Callable[..., None]) -> None:
    class Open(views.EchoView):
        permission_classes = [AllowAny]

    urls(Open, views.OpenView)
    [found] = run_checks(tags=["async_reply"], databases=[])
    assert found.id == "async_reply.W109"
    assert "are then refused" in found.msg


def test_view__whose_words_are_not_known_without_a_request_is_left_alone(
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
def test_view__for_anybody_refuses_who_owns_nothing(
    urls: Callable[..., None], client_of: Callable[..., APIClient]
) -> None:
    class Open(views.EchoView):
        permission_classes = [AllowAny]

    urls(Open)
    assert client_of().post("/Open/").status_code == 401


def test_view__for_anybody_where_everybody_is_an_owner(
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
def test_view__for_anybody_by_the_project_s_access(
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


def test_view__with_authentication_of_its_own(urls: Callable[..., None]) -> None:
    class Basic(views.EchoView):
        authentication_classes = [BasicAuthentication]

    urls(Basic)
    assert ids() == ["async_reply.W105"]
    assert isinstance(Basic().get_authenticators()[0], BasicAuthentication)


def test_view__with_authentication_that_the_operations_know(
    urls: Callable[..., None], settings: Settings
) -> None:
    class Fewer(views.EchoView):
        authentication_classes = [BasicAuthentication]

    class Signed(views.SharedView):
        authentication_classes = [SessionAuthentication]

    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "ACCESS": "tests.project.access.BasicAccess"}
    urls(Fewer, Signed)
    assert ids() == []


# -- what takes the place of a method or an attribute of ours, and slips


def _called(name: str) -> Any:
    """A ViewSet whose action goes by a name of the mixin's."""

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
def test_view__with_an_action_by_a_name_of_ours(
    settings: Settings, name: str, expected: str | None
) -> None:
    class Module:
        urlpatterns = [
            path("<int:pk>/", _called(name).as_view({"post": name})),
            path("", include("async_reply.urls")),
        ]

    settings.ROOT_URLCONF = Module
    assert ids() == ([] if expected is None else [expected])


def test_view__whose_hooks_can_be_called_like_ours(urls: Callable[..., None]) -> None:
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
    ("slip", "meant"),
    [
        ("location_acess", "location_access"),
        ("idempotency_key_requried", "idempotency_key_required"),
        ("redirect_staus", "redirect_status"),
        ("get_inputs", "get_input"),
        ("preform_submit", "perform_submit"),
        ("permision_classes", "permission_classes"),
        ("result_serialiser_class", "result_serializer_class"),
        ("retenton", "retention"),
    ],
)
def test_view__with_a_slip(urls: Callable[..., None], slip: str, meant: str) -> None:
    urls(type("Slipped", (views.EchoView,), {slip: None}))
    [found] = run_checks(tags=["async_reply"], databases=[])
    assert (found.id, found.msg) == (
        "async_reply.W116",
        f"Slipped.{slip} means nothing to async_reply.",
    )
    assert str(found.hint).startswith(f"Did you mean {meant}?")


@pytest.mark.parametrize(
    "name",
    [
        *("resubmit", "request_serializer_class", "get_permission_classes", "throttle_scope"),
        *("task_name", "retention_days", "accept_headers", "idempotency_key", "default_wait"),
        *(
            "redirect_url",
            "perform_submission",
            "queryset",
            "filterset_fields",
            "get_extra_actions",
        ),
    ],
)
def test_view__with_a_name_of_its_own(urls: Callable[..., None], name: str) -> None:
    urls(type("Own", (views.EchoView,), {name: None}))
    assert ids() == []


class SlippedAccess(OperationAccess):
    permision_classes = [IsAdminUser]


def test_access__with_a_slip(settings: Settings) -> None:
    settings.ASYNC_REPLY = {
        **settings.ASYNC_REPLY,
        "ACCESS": "tests.checks.test_checks.SlippedAccess",
    }
    [found] = run_checks(tags=["async_reply"], databases=[])
    assert (found.id, "permission_classes" in str(found.hint)) == ("async_reply.W116", True)


def test_view__of_the_mixin_that_authenticates_otherwise(
    urls: Callable[..., None], settings: Settings
) -> None:
    """Nothing is said on the view: the project's default holds, which ACCESS does not know."""

    class Things(LongRunningOperationMixin):
        authentication_classes = [SessionAuthentication]

    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "ACCESS": "tests.project.access.ClaimsAccess"}
    urls(Things)
    assert ids() == ["async_reply.W105"]
    urls(views.EchoView)
    assert ids() == []


@pytest.mark.parametrize(
    ("changed", "vendors"),
    [
        ({"AUTOCOMMIT": False}, {"sqlite", "postgresql", "mysql"}),
        ({"AUTOCOMMIT": True}, set()),
        ({"OPTIONS": {"autocommit": False, "transaction_mode": "IMMEDIATE"}}, {"sqlite"}),
        ({"ATOMIC_REQUESTS": True}, set()),
    ],
    ids=["off", "on", "off in options", "atomic requests"],
)
def test_autocommit__settings_by_which_nothing_is_committed(
    changed: dict[str, Any], vendors: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in changed.items():
        monkeypatch.setitem(connection.settings_dict, name, value)
    assert ids() == (["async_reply.E037"] if connection.vendor in vendors else [])


def hold_back(opened: Any) -> None:
    """What a receiver of connection_created, or an init_command, may do."""
    if opened.vendor == "postgresql":
        opened.connection.autocommit = False
    else:
        with opened.cursor() as cursor:
            cursor.execute({"mysql": "SET autocommit = 0", "sqlite": "BEGIN"}[opened.vendor])


@pytest.mark.django_db(transaction=True)
def test_autocommit__session_that_holds_back() -> None:
    assert ids(databases=["default"]) == []
    try:
        hold_back(connection)
        assert ids(databases=["default"]) == ["async_reply.E038"]
    finally:
        connection.close()
    assert ids(databases=["default"]) == []


@pytest.mark.skipif(connection.vendor == "sqlite", reason="is no server")
@pytest.mark.django_db(transaction=True)
def test_durability__commit_that_a_crash_takes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET synchronous_commit = off")
    else:
        # It is a setting of the whole server.
        known = {"mysql": ("SELECT @@innodb_flush_log_at_trx_commit", "1")}
        monkeypatch.setattr(databases, "DURABILITY", known)
    assert ids(databases=["default"]) == ["async_reply.W127"]
    connection.close()


@pytest.mark.skipif(connection.vendor != "mysql", reason="all tables have transactions")
@pytest.mark.django_db(transaction=True)
def test_engine__that_knows_no_transactions() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE async_reply_tests (a int) ENGINE = Aria")
        try:
            assert ids(databases=["default"]) == ["async_reply.W128"]
        finally:
            cursor.execute("DROP TABLE async_reply_tests")


@pytest.mark.skipif(connection.vendor == "sqlite", reason="has no limit of connections")
@pytest.mark.parametrize(("concurrency", "expected"), [(2, []), (3, ["async_reply.W124"])])
@pytest.mark.django_db(transaction=True)
def test_connections__fewer_than_one_worker_wants(
    concurrency: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven: two processes with two each, and three in the main one. The server is asked."""
    monkeypatch.setitem(current_app.conf, "worker_concurrency", concurrency)
    if connection.vendor == "mysql":
        # An account's limit is the same variable.
        limit = (pools.LIMITS["mysql"][0], "SELECT 7, @@max_connections")
        monkeypatch.setitem(pools.LIMITS, "mysql", limit)
        assert ids(databases=["default"]) == expected
        return
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 7")
        try:
            assert ids(databases=["default"]) == expected
        finally:
            cursor.execute(f"ALTER DATABASE {name} CONNECTION LIMIT -1")


@pytest.mark.parametrize("concurrency", [None, "auto", 400])
def test_connections__are_counted_where_settings_say_how_many(
    concurrency: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(current_app.conf, "worker_concurrency", concurrency)
    assert celery._concurrency() == (400 if concurrency == 400 else None)


@pytest.mark.parametrize(
    ("pool", "concurrency", "expected"),
    [
        ("threads", 5, ["async_reply.W123", "async_reply.W130"]),
        ("threads", 4, ["async_reply.W130"]),
        ("prefork", 4, ["async_reply.W125"]),
    ],
)
def test_connections__of_a_pool(
    pool: str, concurrency: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**connection.settings_dict["OPTIONS"], "pool": True}
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
    monkeypatch.setitem(current_app.conf, "worker_pool", pool)
    monkeypatch.setitem(current_app.conf, "worker_concurrency", concurrency)
    assert ids() == expected
