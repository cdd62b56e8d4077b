"""Requests that are about to wait are recognized before Django has seen them."""

from typing import Any
from uuid import UUID

import pytest
from django.http import Http404
from django.urls import include, path, register_converter
from django.views.generic import View
from pytest_django import Settings

from async_reply.waiting import scopes

ID = UUID("0198f2a0-5b1c-7d3e-8f4a-6b7c8d9e0f1a")
WAIT = [(b"prefer", b"wait=5")]


class Picky:
    """A converter that accepts no value."""

    regex = ".+"

    def to_python(self, value: str) -> str:
        raise Http404

    def to_url(self, value: str) -> str:
        return value


register_converter(Picky, "picky")
urlpatterns = [
    path("picky/<picky:name>/", View.as_view()),
    path("api/", include("async_reply.urls")),
]


def scope(url: str, fields: Any = (), **more: Any) -> scopes.Scope:
    return {"method": "GET", "path": url, "headers": list(fields), "root_path": "", **more}


@pytest.mark.parametrize(
    ("url", "fields", "expected"),
    [
        (f"/api/operations/{ID}/", WAIT, True),
        (f"/api/operations/{ID.hex.upper()}/", WAIT, True),
        (f"/api/operations/{ID}/", [], False),
        # a body is no way around the limit of requests inside Django
        (f"/api/operations/{ID}/", [*WAIT, (b"content-length", b"0")], True),
        (f"/api/operations/{ID}/", [*WAIT, (b"content-length", b"1")], True),
        (f"/api/operations/{ID}/", [*WAIT, (b"transfer-encoding", b"chunked")], True),
        (f"/api/operations/{ID}/", [*WAIT, (b"expect", b"100-continue")], True),
        # nor are several fields with one name, which Django joins
        (f"/api/operations/{ID}/", [*WAIT, (b"prefer", b"respond-async")], True),
        (f"/api/operations/{ID}/", [(b"prefer", b"respond-async"), *WAIT], True),
        (f"/api/operations/{ID}/monitor/", WAIT, True),
        (f"/api/operations/{ID}/monitor/", [], False),
        (f"/api/operations/{ID}/events/", [], True),
        # a file may be too large to be kept in memory
        (f"/api/operations/{ID}/result/", WAIT, False),
        (f"/api/operations/{ID}/cancel/", WAIT, False),
        ("/api/operations/", WAIT, False),
        (f"/elsewhere/{ID}/", WAIT, False),
    ],
)
def test_is_about_to_wait__get_of_a_view_that_lets_it_wait(
    url: str, fields: Any, expected: bool
) -> None:
    assert scopes.is_about_to_wait(scope(url, fields)) is expected
    assert scopes.is_about_to_wait(scope(url, fields, method="HEAD")) is False


def test_is_about_to_wait__below_a_prefix() -> None:
    url = f"/site/api/operations/{ID}/events/"
    assert scopes.is_about_to_wait(scope(url, root_path="/site"))


def test_is_about_to_wait__other_urls_are_not_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(url: str) -> None:
        pytest.fail(f"{url} was resolved")

    monkeypatch.setattr(scopes, "resolve", fail)
    assert not scopes.is_about_to_wait(scope("/elsewhere/", WAIT))


def test_is_about_to_wait__converter_that_finds_nothing(settings: Settings) -> None:
    settings.ROOT_URLCONF = __name__
    assert not scopes.is_about_to_wait(scope(f"/picky/{ID}/", WAIT))
    assert scopes.is_about_to_wait(scope(f"/api/operations/{ID}/", WAIT))
