"""Checks of the URLconf: each submit can name the URL of its operation."""

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.urls import include, path
from pytest_django import Settings
from rest_framework import serializers
from rest_framework.versioning import NamespaceVersioning, URLPathVersioning
from rest_framework.views import APIView

from async_reply import urls as ours
from async_reply.attempts.compensation import known_kinds
from tests.checks.messages import ids
from tests.project import views


def test_urls__without_operations(urls: Callable[..., None]) -> None:
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


class OtherName:
    """The operations' URLs have another name than URL_NAMESPACE says."""

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
        (OtherName, NamespaceVersioning, ["async_reply.E020"]),
        (OtherName, URLPathVersioning, ["async_reply.E020"]),
        # No view knows the version.
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


def test_urls__without_submits_need_no_operations(urls: Callable[..., None]) -> None:
    urls(operations=False)
    assert ids() == []


def test_urls__without_a_urlconf(settings: Settings) -> None:
    settings.ROOT_URLCONF = None
    assert ids() == []


class WithoutQuestions:
    urlpatterns = [
        path("echoes/", views.EchoView.as_view()),
        path(
            "",
            include(
                ([each for each in ours.urlpatterns if each.name != "input"], "async_reply"),
            ),
        ),
    ]


def test_urls__without_one_for_questions(settings: Settings) -> None:
    settings.ROOT_URLCONF = WithoutQuestions
    assert ids() == ["async_reply.W142"]


class Scan(serializers.Serializer[Any]):
    scan = serializers.ImageField()


class Letter(serializers.Serializer[Any]):
    subject = serializers.CharField()
    scans = Scan(many=True)


class Unmade(serializers.Serializer[Any]):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise KeyError("request")


@pytest.mark.parametrize("serializer", [Scan, Letter])
def test_question__without_files(
    serializer: Any, monkeypatch: pytest.MonkeyPatch, urls: Callable[..., None]
) -> None:
    urls(views.EchoView)
    assert ids() == []
    known = known_kinds["tests.approve"]
    asks = {**known.asks, "unmade": Unmade, "letter": serializer}
    monkeypatch.setitem(known_kinds, "tests.approve", replace(known, asks=asks))
    assert ids() == ["async_reply.W143"]


SPECTACULAR = {"DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema"}


@pytest.mark.parametrize(
    ("framework", "operations", "is_imported", "expected"),
    [
        (SPECTACULAR, True, False, ["async_reply.W117"]),
        (SPECTACULAR, True, True, []),
        (SPECTACULAR, False, False, []),
        ({"DEFAULT_SCHEMA_CLASS": "reports.schemas.Schema"}, True, False, []),
    ],
)
def test_urls__schema_describes_operations(
    framework: dict[str, str],
    operations: bool,
    is_imported: bool,
    expected: list[str],
    urls: Callable[..., None],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    urls(operations=operations)
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, **framework}
    monkeypatch.delitem(sys.modules, "async_reply.contrib.spectacular", raising=False)
    if is_imported:
        monkeypatch.setitem(sys.modules, "async_reply.contrib.spectacular", object())
    assert ids() == expected
