"""LenientNegotiation chooses as the project's negotiation does, also where it does not ask it."""

from typing import Any

import pytest
from django.http import Http404
from django.test import RequestFactory, override_settings
from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer, BrowsableAPIRenderer, JSONRenderer
from rest_framework.request import Request

from async_reply.views.negotiation import LenientNegotiation


class VersionedRenderer(JSONRenderer):
    media_type = "application/json; version=2"


class LastFirst(DefaultContentNegotiation):
    """A project's negotiation, which prefers the last renderer."""

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[-1], renderers[-1].media_type


def request(url: str = "/", accept: str | None = None) -> Request:
    fields: Any = {} if accept is None else {"HTTP_ACCEPT": accept}
    return Request(RequestFactory().get(url, **fields))


@pytest.mark.parametrize("accept", [None, "*/*", "text/html", "*/*;q=0.5", "application/*", ""])
@pytest.mark.parametrize("url", ["/", "/?sig=read.1.x", "/?format=json", "/?format=api"])
@pytest.mark.parametrize("suffix", [None, "api"])
@pytest.mark.parametrize(
    "renderers",
    [
        [JSONRenderer(), BrowsableAPIRenderer()],
        [BrowsableAPIRenderer(), JSONRenderer()],
        [VersionedRenderer(), JSONRenderer(), BrowsableAPIRenderer()],
    ],
)
def test_select_renderer__chooses_as_rest_framework_does(
    accept: str | None, url: str, suffix: str | None, renderers: list[BaseRenderer]
) -> None:
    chosen = LenientNegotiation().select_renderer(request(url, accept), renderers, suffix)
    try:
        expected = DefaultContentNegotiation().select_renderer(
            request(url, accept), renderers, suffix
        )
    except (NotAcceptable, Http404):
        expected = renderers[0], renderers[0].media_type
    assert chosen == expected


@pytest.mark.parametrize("accept", [None, "*/*", "application/json"])
def test_select_renderer__obeys_a_negotiation_of_the_project(accept: str | None) -> None:
    renderers = [JSONRenderer(), BrowsableAPIRenderer()]
    name = f"{LastFirst.__module__}.{LastFirst.__qualname__}"
    with override_settings(REST_FRAMEWORK={"DEFAULT_CONTENT_NEGOTIATION_CLASS": name}):
        chosen, _ = LenientNegotiation().select_renderer(request(accept=accept), renderers)
    assert chosen is renderers[-1]
