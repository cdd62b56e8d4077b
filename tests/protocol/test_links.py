"""Links are the URLs that REST framework's `reverse` makes, whatever these depend on."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.conf.urls.i18n import i18n_patterns
from django.http import HttpRequest
from django.test import RequestFactory
from django.urls import include, path, set_script_prefix
from django.utils import translation
from rest_framework import versioning
from rest_framework.request import Request
from rest_framework.reverse import reverse

from async_reply import urls
from async_reply.protocol import links

NAMES = ["status", "monitor", "result", "events", "log", "cancel"]


class OwnVersioning(versioning.BaseVersioning):
    def reverse(self, viewname: str, *args: Any, **options: Any) -> str:
        url: str = super().reverse(viewname, *args, **options)
        return f"{url}?own={viewname.rpartition(':')[2]}"


class OwnNames(versioning.NamespaceVersioning):
    def get_versioned_viewname(self, viewname: str, request: Request) -> str:
        return f"v2:{viewname}"


class OwnRequest(Request):
    def build_absolute_uri(self, location: str | None = None) -> str:
        return f"https://own.example{location}?own=1"


URLCONF = ModuleType("tests.protocol.links_urlconf")
URLCONF.urlpatterns = [  # type: ignore[attr-defined]
    path("api/", include(urls)),
    path("<version>/api/", include(urls)),
    path("one/", include(([path("", include(urls))], "v1"))),
    path("two/", include(([path("", include(urls))], "v2"))),
    *i18n_patterns(path("local/", include((urls.urlpatterns, "local")))),
]


@pytest.fixture(autouse=True)
def _urlconf(settings: Any) -> Iterator[None]:
    settings.ROOT_URLCONF = URLCONF
    settings.ALLOWED_HOSTS = ["*"]
    yield
    set_script_prefix("/")


def request(
    scheme: type[versioning.BaseVersioning] | None = None,
    version: str | None = None,
    *,
    kind: type[Request] = Request,
    **environ: Any,
) -> Request:
    made = kind(RequestFactory().get("/", **environ))
    made.version, made.versioning_scheme = version, scheme() if scheme else None
    return made


def assert_as_reversed(made: Request) -> None:
    for pk in (uuid4(), UUID(int=0), uuid4()):
        expected = [
            reverse(f"async_reply:{name}", kwargs={"id": str(pk)}, request=made) for name in NAMES
        ]
        assert links.make(NAMES, pk, made) == expected


def test_make__depends_on_version_and_scheme() -> None:
    for scheme, version in [
        (None, None),
        (versioning.URLPathVersioning, "1"),
        (versioning.URLPathVersioning, "2"),
        (versioning.NamespaceVersioning, "v1"),
        (versioning.NamespaceVersioning, "v2"),
        (versioning.AcceptHeaderVersioning, "1"),
        (versioning.HostNameVersioning, "1"),
        (versioning.QueryParameterVersioning, "1"),
        (versioning.QueryParameterVersioning, "2"),
        (OwnVersioning, "1"),
        (OwnNames, "v1"),
    ]:
        assert_as_reversed(request(scheme, version))


def test_make__depends_on_host_and_prefix() -> None:
    for host in ("one.example", "two.example:8443"):
        assert_as_reversed(request(headers={"host": host}))
    set_script_prefix("/prefix/")
    assert_as_reversed(request())


def test_make__depends_on_the_language(settings: Any) -> None:
    settings.ASYNC_REPLY = {"URL_NAMESPACE": "local"}
    made = request()
    for language in ("de", "en"):
        with translation.override(language):
            (url,) = links.make(["status"], UUID(int=1), made)
            assert url == reverse("local:status", kwargs={"id": UUID(int=1)}, request=made)
            assert f"/{language}/" in url


def test_make__keeps_the_format_of_the_request() -> None:
    made = request(QUERY_STRING="format=json")
    assert_as_reversed(made)
    assert all(url.endswith("?format=json") for url in links.make(NAMES, uuid4(), made))


def test_make__a_request_class_of_the_project_makes_its_urls() -> None:
    assert_as_reversed(request(kind=OwnRequest))


def test_make__another_urlconf_has_other_paths(settings: Any) -> None:
    other = ModuleType("tests.protocol.links_other")
    other.urlpatterns = [path("other/", include(urls))]  # type: ignore[attr-defined]
    assert_as_reversed(request())
    settings.ROOT_URLCONF = other
    assert_as_reversed(request())


@pytest.mark.parametrize("scheme", [None, versioning.QueryParameterVersioning])
def test_make__adds_the_valet_key(scheme: Any) -> None:
    made = request(scheme, "1")
    for url in links.make(NAMES, uuid4(), made, key="a:b+c"):
        query = HttpRequest()
        query.GET = type(made.GET)(url.partition("?")[2])
        assert query.GET["sig"] == "a:b+c"
        assert query.GET.get("version") == ("1" if scheme else None)


def test_make__reverses_each_name_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = request()
    links.make(NAMES, uuid4(), made)
    monkeypatch.setattr(links, "reverse", None)
    links.make(NAMES, uuid4(), made)


def test_make__keeps_a_bounded_number_of_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "MAX_KEPT", 2)
    for number in range(5):
        set_script_prefix(f"/prefix{number}/")
        assert_as_reversed(request())
    assert max(map(len, links._paths.values())) <= 2
