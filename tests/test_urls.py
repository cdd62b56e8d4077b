"""Links work with every kind of versioning and format, and without their slash.

Each versioning scheme of REST framework, `?format=` and format suffixes, with signed links and
plain links. Each method on each URL without its slash, with DEBUG and without it.
"""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from django.urls import include, path, re_path
from pytest_django import Settings
from rest_framework import versioning
from rest_framework.test import APIClient
from rest_framework.urlpatterns import format_suffix_patterns
from rest_framework.views import APIView

from async_reply import services, urls
from async_reply.database.identifiers import uuid7
from async_reply.models import Operation
from async_reply.testing import run_operations
from tests.project import tasks
from tests.project.views import EchoView, OpenView

pytestmark = pytest.mark.django_db

SUBMITS = [path("echoes/", EchoView.as_view()), path("open/", OpenView.as_view())]
OPERATIONS = include("async_reply.urls")


class Plain:
    urlpatterns = [*SUBMITS, path("api/", OPERATIONS)]


class ByPath:
    urlpatterns = [re_path(r"^(?P<version>v[12])/", include(Plain.urlpatterns))]


class ByNamespace:
    urlpatterns = [path("v1/", include((Plain.urlpatterns, "v1"), namespace="v1"))]


class BySuffix:
    urlpatterns = format_suffix_patterns(Plain.urlpatterns)


#: Versioning class, URLconf, URL of the submit, headers of each request.
WAYS: dict[str, tuple[Any, Any, str, dict[str, str]]] = {
    "none": (None, Plain, "/{}/", {}),
    "accept": (
        versioning.AcceptHeaderVersioning,
        Plain,
        "/{}/",
        {"Accept": "application/json; version=v1"},
    ),
    "path": (versioning.URLPathVersioning, ByPath, "/v1/{}/", {}),
    "namespace": (versioning.NamespaceVersioning, ByNamespace, "/v1/{}/", {}),
    "host": (versioning.HostNameVersioning, Plain, "/{}/", {"Host": "v1.example.org"}),
    "query": (versioning.QueryParameterVersioning, Plain, "/{}/?version=v1", {}),
    "query and format": (
        versioning.QueryParameterVersioning,
        Plain,
        "/{}/?version=v1&format=json",
        {},
    ),
    "format": (None, Plain, "/{}/?format=json", {}),
    "suffix": (None, BySuffix, "/{}/", {}),
}


@pytest.fixture(params=WAYS)
def way(
    request: pytest.FixtureRequest, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, dict[str, str]]:
    cls, urlconf, url, fields = WAYS[request.param]
    monkeypatch.setattr(APIView, "versioning_class", cls)
    monkeypatch.setattr(versioning.BaseVersioning, "allowed_versions", ["v1"])
    settings.ALLOWED_HOSTS = ["*"]
    settings.ROOT_URLCONF = urlconf
    return url, fields


@pytest.mark.parametrize("signed", [False, True])
def test_links__work_in_a_whole_conversation(
    way: tuple[str, dict[str, str]], signed: bool, user: Any
) -> None:
    url, fields = way
    client = APIClient()
    if not signed:
        client.force_authenticate(user)
    submit = url.format("open" if signed else "echoes")
    accepted = client.post(submit, {"number": 7}, headers=fields)
    assert accepted.status_code == 202, accepted.content
    links = accepted.json()["links"]
    assert {accepted["Location"], accepted["Operation-Location"]} == {
        links["self"],
        links["monitor"],
    }
    for link in links.values():
        query = parse_qsl(urlsplit(link).query, strict_parsing=True) if "?" in link else []
        assert ("sig" in dict(query)) is signed
        assert len(query) == len(dict(query))
    assert client.get(links["self"], headers=fields).status_code == 200
    assert client.get(links["monitor"], headers=fields).status_code == 200
    assert client.get(links["result"], headers=fields).status_code == 202
    assert client.head(links["events"], headers=fields).status_code == 200
    run_operations()
    result = client.get(client.get(links["self"], headers=fields)["Location"], headers=fields)
    assert (result.status_code, result.json()) == (200, {"number": 7})
    urls = client.post(submit, {}, headers=fields).json()["links"]
    assert client.post(urls["cancel"], headers=fields).json()["status"] == "canceled"


# -- without the slash

ENDS = ["", "/", "/monitor", "/result", "/events", "/cancel"]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def answers(client: APIClient, method: str, url: str) -> Iterator[tuple[int, bytes]]:
    """Status and content for the URL, and for the URL without its slash."""
    for target in (f"{url}/", url):
        answer = client.generic(method, target)
        content = b"" if answer.streaming else answer.content
        yield answer.status_code, content


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("exists", [False, True])
def test_url__without_its_slash_gets_the_same_answer(
    settings: Settings,
    client_of: Callable[..., APIClient],
    user: Any,
    debug: bool,
    method: str,
    end: str,
    exists: bool,
) -> None:
    settings.DEBUG = debug
    client = client_of(user)
    operations = [services.submit(tasks.echo, owner=str(user.pk)) for _ in range(2)]
    pk = str(operations[0].pk if exists else uuid7())
    url = "/api/operations" + (f"/{pk}{end.rstrip('/')}" if end else "")
    with_slash, without = answers(client, method, url)
    assert with_slash[0] == without[0] != 301
    if not exists or method == "OPTIONS":
        assert with_slash == without
    assert without[0] < 500


def test_links__end_with_a_slash(api: APIClient) -> None:
    links = api.post("/echoes/", {}).json()["links"]
    assert all(link.endswith("/") for link in links.values())
    links_without_slash = api.get(links["monitor"].rstrip("/")).json()["links"]
    assert links_without_slash == links
    assert Operation.objects.count() == 1


class WithoutLog:
    """A project that mounts the views of operations by itself, and knows no log."""

    mounted = [pattern for pattern in urls.urlpatterns if pattern.name != "log"]
    urlpatterns = [*SUBMITS, path("api/", include((mounted, "async_reply")))]


def test_links__of_a_project_without_a_url_for_the_log(api: APIClient, settings: Settings) -> None:
    settings.ROOT_URLCONF = WithoutLog
    links = api.post("/echoes/", {}).json()["links"]
    assert set(links) == {"self", "monitor", "result", "events", "cancel"}
    assert api.get(links["self"]).status_code == 200
