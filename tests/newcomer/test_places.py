"""Links work at each place where a project includes the URLs, and with each configuration."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.conf.urls.i18n import i18n_patterns
from django.contrib.auth.models import User
from django.core.handlers.wsgi import WSGIHandler
from django.db import OperationalError, connection, connections, transaction
from django.urls import include, path, re_path, set_script_prefix
from django.utils import translation
from pytest_django import Settings
from rest_framework.authentication import SessionAuthentication
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient
from rest_framework.versioning import NamespaceVersioning, URLPathVersioning
from rest_framework.views import APIView

from async_reply.models import Operation
from async_reply.publishing import broker
from async_reply.testing import run_operations
from tests.project import views

PROBLEM = "application/problem+json"


class Plain:
    urlpatterns = [
        path("echoes/", views.EchoView.as_view()),
        path("creations/", views.CreateView.as_view()),
        path("things/<int:number>/", views.ThingViewSet.as_view({"get": "retrieve"}), name="thing"),
        path("", include("async_reply.urls")),
    ]


class Below:
    urlpatterns = [path("deep/below/", include(Plain.urlpatterns))]


class Translated:
    urlpatterns = i18n_patterns(*Plain.urlpatterns)


class Slashless:
    """For APPEND_SLASH, which has nothing to redirect: each of our URLs works as it is linked."""

    urlpatterns = Plain.urlpatterns


PLACES: list[tuple[type[Any], str, dict[str, Any]]] = [
    (Plain, "", {}),
    (Below, "/deep/below", {}),
    (Translated, "/de", {}),
    (Slashless, "", {"APPEND_SLASH": True}),
    (Slashless, "", {"APPEND_SLASH": False}),
    (Plain, "", {"DEBUG": True}),
    (Plain, "", {"USE_TZ": False}),
]


@pytest.fixture(autouse=True)
def middleware(settings: Settings) -> Iterator[None]:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
    yield
    # The thread keeps the language of its last request.
    translation.deactivate()


def follow(api: APIClient, url: str) -> Any:
    """GET an absolute URL."""
    assert url.startswith("http://testserver/")
    return api.get(url)


@pytest.mark.django_db
@pytest.mark.parametrize(("urls", "start", "configured"), PLACES)
def test_place__links_work_from_submit_to_result(
    api: APIClient, settings: Settings, urls: type[Any], start: str, configured: dict[str, Any]
) -> None:
    settings.ROOT_URLCONF = urls
    for name, value in configured.items():
        setattr(settings, name, value)
    accepted = api.post(f"{start}/creations/")
    assert accepted.status_code == 202, accepted.content
    run_operations()
    poll = follow(api, accepted["Location"])
    assert poll.status_code == 302
    result = follow(api, poll["Location"])
    assert (result.status_code, result["Location"]) == (302, f"http://testserver{start}/things/7/")
    for link in accepted.json()["links"].values():
        assert follow(api, link).status_code in {200, 302, 405}


@pytest.fixture
def script_prefix() -> Iterator[None]:
    """Reset the prefix: a thread keeps that of its last request."""
    yield
    set_script_prefix("/")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("forced", [False, True])
def test_place__below_a_script_name(
    user: Any, settings: Settings, script_prefix: None, forced: bool
) -> None:
    """With Django's WSGI handler. Its test client has no script prefix."""
    settings.ROOT_URLCONF = Plain
    settings.FORCE_SCRIPT_NAME = "/site" if forced else None
    transport = httpx.WSGITransport(WSGIHandler(), script_name="" if forced else "/site")
    headers = {"Authorization": f"Token {Token.objects.create(user=user)}"}
    with httpx.Client(transport=transport, headers=headers, base_url="http://testserver") as client:

        def get(url: str) -> httpx.Response:
            assert url.startswith("http://testserver/site/operations/")
            return client.get(url.removeprefix("http://testserver/site"))

        accepted = client.post("/creations/")
        run_operations()
        result = get(get(accepted.headers["Location"]).headers["Location"])
    assert result.headers["Location"] == "http://testserver/site/things/7/"


@pytest.fixture
def atomic_requests(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)


def test_atomic_requests__message_is_sent_after_the_commit(
    api: APIClient, atomic_requests: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_transaction: list[bool] = []

    def send(operation: Operation) -> None:
        in_transaction.append(transaction.get_connection().in_atomic_block)

    monkeypatch.setattr(broker, "send", send)
    assert api.post("/echoes/").status_code == 202
    assert in_transaction == [False]


def test_atomic_requests__without_a_database_is_503(
    api: APIClient, atomic_requests: None, monkeypatch: pytest.MonkeyPatch, broker: list[str]
) -> None:
    def refuse() -> None:
        raise OperationalError("connection refused")

    with monkeypatch.context() as outage:
        connection.close()
        outage.setattr(connection, "connect", refuse)
        response = api.post("/echoes/")
    assert (response.status_code, response["Content-Type"]) == (503, PROBLEM)
    assert "Retry-After" in response
    assert (Operation.objects.count(), broker) == (0, [])


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("method", "url", "options", "status"),
    [
        ("get", "/api/operations/odd/", {}, 404),
        ("get", "/api/operations/0192aaaa-0000-7000-8000-000000000000/result/", {}, 404),
        ("put", "/api/operations/odd/", {}, 405),
        ("post", "/echoes/", {"data": b"{", "content_type": "application/json"}, 400),
        ("post", "/echoes/", {"data": b"a" * 64, "content_type": "application/json"}, 413),
        ("post", "/echoes/", {"data": b"a;b", "content_type": "text/csv"}, 415),
        ("get", "/echoes/", {}, 405),
    ],
)
def test_production__errors_of_our_urls_are_problems(
    api: APIClient, settings: Settings, method: str, url: str, options: Any, status: int
) -> None:
    settings.DEBUG = False
    settings.ALLOWED_HOSTS = ["testserver"]
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 32
    response = getattr(api, method)(url, **options)
    assert (response.status_code, response["Content-Type"]) == (status, PROBLEM)


@pytest.mark.django_db
def test_production__without_csrf_token_is_a_problem(
    user: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views.EchoView, "authentication_classes", [SessionAuthentication])
    settings.DEBUG = False
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(user)
    response = client.post("/echoes/")
    assert (response.status_code, response["Content-Type"]) == (403, PROBLEM)
    assert "CSRF" in response.json()["detail"]


@pytest.mark.django_db
def test_production__foreign_host_is_refused_by_django(api: APIClient, settings: Settings) -> None:
    settings.DEBUG = False
    settings.ALLOWED_HOSTS = ["example.org"]
    assert api.post("/echoes/").status_code == 400
    assert not Operation.objects.exists()
    assert api.post("/echoes/", SERVER_NAME="example.org").status_code == 202


@pytest.mark.django_db
def test_proxy__links_have_the_public_host(api: APIClient, settings: Settings) -> None:
    """The forwarded host counts only if the project trusts its proxy: anybody can send it."""
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "api.example.org"}
    plain = api.post("/echoes/", headers=forwarded)
    assert plain["Location"].startswith("http://testserver/")
    settings.USE_X_FORWARDED_HOST = True
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.ALLOWED_HOSTS = ["api.example.org"]
    trusted = api.post("/echoes/", headers=forwarded)
    links = trusted.json()["links"].values()
    assert all(link.startswith("https://api.example.org/api/operations/") for link in links)
    assert trusted["Location"] in links
    forged = api.post("/echoes/", headers={**forwarded, "X-Forwarded-Host": "evil.example.org"})
    assert forged.status_code == 400


class ByNamespace:
    """`v1:async_reply:status`, and the same below `v2`."""

    urlpatterns = [
        path("v1/", include((Plain.urlpatterns, "v1"), namespace="v1")),
        path("v2/", include((Plain.urlpatterns, "v2"), namespace="v2")),
    ]


class ByPath:
    urlpatterns = [re_path(r"^(?P<version>v\d)/", include(Plain.urlpatterns))]


@pytest.mark.django_db
@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(
    ("urls", "scheme"), [(ByNamespace, NamespaceVersioning), (ByPath, URLPathVersioning)]
)
def test_versions__links_have_the_version_of_the_request(
    api: APIClient,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    urls: type[Any],
    scheme: type[Any],
    version: str,
) -> None:
    monkeypatch.setattr(APIView, "versioning_class", scheme)
    settings.ROOT_URLCONF = urls
    accepted = api.post(f"/{version}/creations/")
    assert accepted.status_code == 202, accepted.content
    for link in accepted.json()["links"].values():
        assert link.startswith(f"http://testserver/{version}/operations/")
    run_operations()
    poll = follow(api, accepted["Location"])
    result = follow(api, poll["Location"])
    assert result["Location"] == f"http://testserver/{version}/things/7/"
    assert Operation.objects.get().input == {}


class Replica:
    """A router that sends reads to a replica, which never gets a row."""

    def db_for_read(self, model: type[Any], **hints: Any) -> str | None:
        return "replica" if model._meta.app_label == "async_reply" else None

    def db_for_write(self, model: type[Any], **hints: Any) -> str:
        return "default"


@pytest.fixture
def replica(
    transactional_db: None, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[None]:
    """A second database without tables: each read from it is an error."""
    engine = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "replica.sqlite3")}
    complete = connections.configure_settings({"default": {}, "replica": engine})["replica"]
    monkeypatch.setitem(connections.settings, "replica", complete)
    settings.DATABASE_ROUTERS = [Replica()]
    with pytest.raises(Exception, match="replica"):
        User.objects.using("replica").first()
    yield
    del connections["replica"]


def test_replica__is_never_read_for_operations(api: APIClient, replica: None) -> None:
    """Otherwise its lag would make the first poll a 404, and a replayed key a second operation."""
    key = {"Idempotency-Key": "k"}
    accepted = api.post("/exports/", headers=key)
    assert api.get(accepted["Location"]).status_code == 200
    assert api.post("/exports/", headers=key).json() == accepted.json()
    assert len(api.get("/api/operations/").json()["results"]) == 1
    assert len(run_operations()) == 1
    poll = api.get(accepted["Location"])
    result = api.get(poll["Location"])
    assert (poll.status_code, b"".join(result)) == (302, b"a;b\n1;2\n")
    assert api.delete(accepted["Location"]).status_code == 204
    assert api.post("/exports/", headers=key).status_code == 410
