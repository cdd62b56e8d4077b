from collections.abc import Callable
from typing import Any

import pytest
from celery import current_app
from django.core.checks import CheckMessage, run_checks
from django.db import connection
from django.urls import path
from pytest_django import Settings
from rest_framework.authentication import BasicAuthentication
from rest_framework.permissions import AllowAny, IsAdminUser, IsAuthenticated

from async_reply import conf, cors, relay, tasks
from async_reply.checks import databases
from async_reply.views import LongRunningOperationView
from tests.conftest import configure_celery
from tests.project import views


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
        from async_reply.urls import urlpatterns as ours

        Module.urlpatterns = [path(f"{cls.__name__}/", cls.as_view()) for cls in classes]
        if operations:
            from django.urls import include

            Module.urlpatterns.append(path("", include((ours, "async_reply"))))
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
        ({"ACCESS": "nowhere.Access"}, ["async_reply.E014"]),
        ({"NOTIFY": "carrier pigeon"}, ["async_reply.E012"]),
        ({"MAX_WAIT": -1, "WAIT_THREADS": 0.5}, ["async_reply.E012", "async_reply.E012"]),
        ({"SIGNED_URL": "nowhere.sign"}, ["async_reply.E016"]),
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
    monkeypatch.setattr(relay, "is_default_app", lambda: True)
    assert ids() == ["async_reply.E001"]


def test_celery__transport_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_celery(monkeypatch, broker_transport="demo_project.nowhere:Transport")
    assert ids() == ["async_reply.E002"]


def test_celery__pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_celery(monkeypatch, accept_content=["json", "pickle"])
    assert ids() == ["async_reply.E003"]


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


@pytest.mark.parametrize(("reuse", "expected"), [(None, []), (1000, ["async_reply.W133"])])
def test_celery__connections_of_green_threads_are_not_to_be_kept(
    reuse: int | None, expected: list[str], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In this order: Celery's settings are read from Django's, and put back as they were then.
    configure_celery(monkeypatch, db_reuse_max=reuse)
    settings.CELERY_DB_REUSE_MAX = reuse
    monkeypatch.setitem(current_app.conf, "worker_pool", "gevent")
    told = set(ids()) - {"async_reply.W131", "async_reply.W132"}
    assert sorted(told) == expected


@pytest.mark.parametrize(
    ("zone", "use_tz", "expected"),
    [
        ("Asia/Kolkata", True, []),
        ("UTC", False, []),
        ("Asia/Kolkata", False, ["async_reply.W122"]),
    ],
)
def test_time_zone__that_the_database_s_own_times_are_not_in(
    settings: Settings, zone: str, use_tz: bool, expected: list[str]
) -> None:
    settings.TIME_ZONE, settings.USE_TZ = zone, use_tz
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


def test_view__for_anybody(urls: Callable[..., None]) -> None:
    class Open(views.EchoView):
        permission_classes = [AllowAny]

    urls(Open, views.OpenView)
    assert ids() == ["async_reply.E023"]


@pytest.mark.parametrize(
    ("access", "expected"),
    [("OpenAccess", ["async_reply.E023"]), ("NamingAccess", []), ("OrAccess", [])],
)
def test_view__for_anybody_by_the_project_s_access(
    urls: Callable[..., None], settings: Settings, access: str, expected: list[str]
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "ACCESS": f"tests.web.access.{access}"}
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
