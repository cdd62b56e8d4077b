"""Errors of submits and operations become problem documents, whatever code raises them."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpResponse, JsonResponse
from django.urls import path
from pytest_django import Settings
from rest_framework import exceptions as drf
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer, StaticHTMLRenderer
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.test import APIClient
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView, exception_handler

from async_reply import exceptions, lifecycle, responses
from async_reply.database.identifiers import uuid7
from async_reply.models import Operation
from async_reply.permissions import OperationAccess
from async_reply.protocol import problems
from tests.project import urls
from tests.project.views import EchoView

pytestmark = pytest.mark.django_db

PROBLEM = "application/problem+json"
MEMBERS = ["type", "title", "status", "detail"]


class Trouble(Exception):
    """An exception of the project."""


class Away(drf.APIException):
    status_code = 503


class Teapot(drf.APIException):
    status_code = 418
    default_detail = "I am one."


def raising(error: BaseException) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise error

    return refuse


class FormatSerializer(serializers.Serializer[Any]):
    format = serializers.ChoiceField(choices=["csv", "pdf"])


def test_error__may_quote_half_a_surrogate_pair(
    api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EchoView, "serializer_class", FormatSerializer)
    body = '{"format": "\\ud800"}'
    response = api.post("/echoes/", body, content_type="application/json")
    assert (response.status_code, response["Content-Type"]) == (400, PROBLEM)
    assert response.json()["errors"] == {"format": ['"\ud800" is not a valid choice.']}


RAISED: list[tuple[BaseException, int, str]] = [
    (drf.NotAuthenticated(), 401, "about:blank"),
    (drf.AuthenticationFailed(), 401, "about:blank"),
    (drf.PermissionDenied(), 403, "about:blank"),
    (PermissionDenied(), 403, "about:blank"),
    (Http404(), 404, "about:blank"),
    (drf.MethodNotAllowed("POST"), 405, "about:blank"),
    (drf.NotAcceptable(), 406, "about:blank"),
    (drf.UnsupportedMediaType("x/y"), 415, "about:blank"),
    (Teapot(), 418, "about:blank"),
    (drf.Throttled(wait=None), 429, "about:blank"),
    (drf.Throttled(wait=0), 429, "about:blank"),
    (drf.Throttled(wait=-3), 429, "about:blank"),
    (drf.Throttled(wait=7.2), 429, "about:blank"),
    (Away(), 503, "about:blank"),
    (OperationalError("gone"), 503, "database-unavailable"),
    (InterfaceError("gone"), 503, "database-unavailable"),
    (exceptions.StorageFailed("The storage failed."), 503, "storage-unavailable"),
    (exceptions.QuotaExceeded("Too many."), 429, "quota-exceeded"),
    (exceptions.PayloadTooLarge("Too much."), 413, "about:blank"),
    (exceptions.PayloadError("NaN."), 400, "about:blank"),
    (RecursionError(), 400, "about:blank"),
]


@pytest.mark.parametrize(("error", "status", "name"), RAISED, ids=lambda value: repr(value)[:40])
@pytest.mark.parametrize("method", ["initial", "get_serializer", "perform_submit"])
def test_error__of_a_submit_is_a_problem(
    api: APIClient,
    monkeypatch: pytest.MonkeyPatch,
    broker: list[str],
    error: BaseException,
    status: int,
    name: str,
    method: str,
) -> None:
    monkeypatch.setattr(EchoView, method, raising(error))
    response = api.post("/echoes/", {})
    assert (response.status_code, response["Content-Type"]) == (status, PROBLEM)
    problem = response.json()
    assert list(problem) == MEMBERS
    assert (problem["status"], problem["title"]) == (status, problem["title"] or None)
    assert problem["type"].endswith(name)
    assert response["Cache-Control"] == "private, no-store"
    assert response["Vary"] == "Accept, Authorization, Cookie, Prefer"
    assert response["Allow"] == "POST, OPTIONS"
    assert ("WWW-Authenticate" in response) == (status == 401)
    if status in {429, 503}:
        assert int(response["Retry-After"]) >= 1
    else:
        assert "Retry-After" not in response
    assert (Operation.objects.count(), broker) == (0, [])


def test_throttle__answer_has_retry_after(api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(BaseThrottle):
        def allow_request(self, *_: Any) -> bool:
            return False

    monkeypatch.setattr(EchoView, "throttle_classes", [Full])
    for seconds, field in ((6.1, "7"), (0.2, "1"), (None, "5"), (0.0, "5")):
        monkeypatch.setattr(Full, "wait", lambda self, seconds=seconds: seconds)
        response = api.post("/echoes/", {})
        assert (response.status_code, response["Retry-After"]) == (429, field)
    assert not Operation.objects.exists()


@pytest.mark.parametrize(
    ("method", "end"),
    [
        *[("GET", end) for end in ("", "x/", "x/monitor/", "x/result/", "x/events/")],
        *[("DELETE", "x/"), ("DELETE", "x/result/"), ("POST", "x/cancel/")],
    ],
)
def test_error__of_the_database_is_503_with_retry_after(
    api: APIClient, monkeypatch: pytest.MonkeyPatch, method: str, end: str
) -> None:
    refuse = raising(OperationalError("connection refused to db.internal:5432"))
    monkeypatch.setattr(OperationAccess, "get_queryset", refuse)
    response = api.generic(method, f"/api/operations/{end.replace('x', str(uuid7()))}")
    assert (response.status_code, response["Content-Type"]) == (503, PROBLEM)
    assert (response["Retry-After"], response["Cache-Control"]) == ("5", "private, no-store")
    assert "db.internal" not in response.content.decode()


@pytest.mark.parametrize("accept", ["text/csv", "text/event-stream", "image/png"])
def test_submit__is_406_like_any_view_of_the_project(
    api: APIClient, accept: str, broker: list[str]
) -> None:
    response = api.post("/echoes/", {}, headers={"Accept": accept})
    assert (response.status_code, response["Content-Type"]) == (406, PROBLEM)
    assert (Operation.objects.count(), broker) == (0, [])


@pytest.mark.parametrize("accept", ["application/json", "*/*", "application/*", None])
def test_problem__has_its_own_media_type(api: APIClient, accept: str | None) -> None:
    fields = {} if accept is None else {"Accept": accept}
    for method, url in (("POST", "/echoes/"), ("GET", "/api/operations/odd/")):
        response = api.generic(method, url, "[", "application/json", headers=fields)
        assert response["Content-Type"] == PROBLEM


TEXT = "<script>alert(1)</script>"


@pytest.mark.parametrize("end", ["", "monitor/", "result/"])
def test_html__escapes_texts_of_a_job(
    api: APIClient, submit: Callable[..., Operation], end: str
) -> None:
    operation = submit(anything=TEXT)
    assert lifecycle.claim(operation, worker="w1")
    lifecycle.beat(operation, progress=1, message=TEXT)
    url, html = f"/api/operations/{operation.pk}/{end}", {"Accept": "text/html"}
    pages = [api.get(url, headers=html)]
    assert lifecycle.fail(operation, problems.failure(TEXT, TEXT))
    pages += [api.get(url, headers=html), api.get("/api/operations/", headers=html)]
    for page in pages:
        assert page["Content-Type"] == "text/html; charset=utf-8"
        assert b"&lt;script&gt;alert(1)" in page.content
        assert TEXT.encode() not in page.content


def test_html__escapes_texts_of_a_client(api: APIClient) -> None:
    page = api.post("/echoes/", {"user": TEXT}, headers={"Accept": "text/html"})
    assert (page.status_code, page["Content-Type"]) == (400, "text/html; charset=utf-8")
    assert TEXT.encode() not in page.content


# -- with an exception handler of the project


class Other(APIView):
    """A view of the project that does not submit."""

    permission_classes = []
    error: BaseException

    def get(self, request: Any) -> Response:
        raise self.error


class WithOther:
    urlpatterns = [*urls.urlpatterns, path("other/", Other.as_view())]


def own_handler(error: Exception, context: Any) -> Any:
    """Puts each error into an envelope, as projects do."""
    if isinstance(error, Trouble):
        return Response({"detail": "Trouble.", "envelope": 1}, 418, headers={"X-Own": "1"})
    if isinstance(error, ZeroDivisionError):
        return JsonResponse({"envelope": 1}, status=409)
    response = exception_handler(error, context)
    if response is not None:
        response.data = {"envelope": response.data}
    return response


def composed_handler(error: Exception, context: Any) -> Any:
    """Answers the project's own exception, and calls our handler for all others."""
    if isinstance(error, Trouble):
        return own_handler(error, context)
    return responses.exception_handler(error, context)


HANDLERS = [own_handler, composed_handler]


@pytest.fixture(params=HANDLERS)
def handler(
    request: pytest.FixtureRequest, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Any:
    settings.ROOT_URLCONF = WithOther
    monkeypatch.setattr(api_settings, "EXCEPTION_HANDLER", request.param, raising=False)
    return request.param


@pytest.mark.usefixtures("handler")
def test_handler__of_the_project_answers_its_own_exceptions(
    api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EchoView, "perform_submit", raising(Trouble()))
    response = api.post("/echoes/", {})
    assert (response.status_code, response["Content-Type"]) == (418, PROBLEM)
    assert (list(response.json()), response["X-Own"]) == ([*MEMBERS, "envelope"], "1")
    assert response.json()["detail"] == "Trouble."
    assert response["Cache-Control"] == "private, no-store"


@pytest.mark.usefixtures("handler")
def test_handler__of_the_project_does_not_change_known_errors(api: APIClient) -> None:
    assert list(api.get("/api/operations/odd/").json()) == MEMBERS
    assert list(api.post("/echoes/", {"number": "x"}).json()) == [*MEMBERS, "errors"]


def test_handler__of_the_project_may_return_any_response(
    api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_settings, "EXCEPTION_HANDLER", own_handler, raising=False)
    monkeypatch.setattr(EchoView, "perform_submit", raising(ZeroDivisionError()))
    response = api.post("/echoes/", {})
    assert (response.status_code, response.json()["status"]) == (409, 409)


@pytest.mark.parametrize("chosen", [*HANDLERS, responses.exception_handler, exception_handler])
def test_handler__leaves_defects_to_django(
    api: APIClient, monkeypatch: pytest.MonkeyPatch, chosen: Any
) -> None:
    monkeypatch.setattr(api_settings, "EXCEPTION_HANDLER", chosen, raising=False)
    monkeypatch.setattr(EchoView, "perform_submit", raising(KeyError("defect")))
    with pytest.raises(KeyError):
        api.post("/echoes/", {})


@pytest.mark.parametrize("chosen", [responses.exception_handler, composed_handler])
def test_handler__changes_only_our_exceptions_in_other_views(
    api: APIClient, settings: Settings, monkeypatch: pytest.MonkeyPatch, chosen: Any
) -> None:
    """Our handler is the project's EXCEPTION_HANDLER, directly or by a call."""
    settings.ROOT_URLCONF = WithOther
    monkeypatch.setattr(api_settings, "EXCEPTION_HANDLER", chosen, raising=False)

    def ask(error: BaseException) -> HttpResponse:
        monkeypatch.setattr(Other, "error", error, raising=False)
        response: HttpResponse = api.get("/other/")
        return response

    invalid = ask(drf.ValidationError({"number": ["No."]}))
    assert (invalid.status_code, invalid.content) == (400, b'{"number":["No."]}')
    missing = ask(Http404())
    assert (missing.status_code, missing.content) == (404, b'{"detail":"Not found."}')
    assert not {"Cache-Control", "Access-Control-Expose-Headers"} & set(missing.headers)
    for error in (OperationalError("gone"), RecursionError()):
        with pytest.raises(type(error)):
            ask(error)
    full = ask(exceptions.QuotaExceeded("Too many."))
    assert (full.status_code, full["Retry-After"]) == (429, "5")
    assert b"quota-exceeded" in full.content


class CamelCaseRenderer(JSONRenderer):
    """As that of djangorestframework-camel-case."""

    def render(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        return super().render(_camel(data), *args, **kwargs)


class EnvelopeRenderer(JSONRenderer):
    def render(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        return super().render({"ok": False, "data": data}, *args, **kwargs)


class OtherNamesRenderer(JSONRenderer):
    def render(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        return super().render({**data, "status": "error"}, *args, **kwargs)


def _camel(data: Any) -> Any:
    if isinstance(data, dict):
        return {
            re.sub("_(.)", lambda match: match[1].upper(), name): _camel(value)
            for name, value in data.items()
        }
    return [_camel(item) for item in data] if isinstance(data, list) else data


class YearSerializer(serializers.Serializer[Any]):
    start_year = serializers.IntegerField()


@pytest.mark.parametrize(
    ("renderer", "name"),
    [
        (CamelCaseRenderer, "startYear"),
        (EnvelopeRenderer, "start_year"),
        (OtherNamesRenderer, "start_year"),
        (JSONRenderer, "start_year"),
        (StaticHTMLRenderer, "start_year"),
    ],
)
def test_problem__names_fields_as_the_project_does(
    renderer: Any, name: str, api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EchoView, "serializer_class", YearSerializer)
    monkeypatch.setattr(EchoView, "renderer_classes", [renderer])
    monkeypatch.setattr(StaticHTMLRenderer, "format", "static")
    refused = api.post("/echoes/", {})
    assert refused["Content-Type"] == "application/problem+json"
    assert refused.json() == {
        "type": "about:blank",
        "title": "Bad Request",
        "status": 400,
        "detail": "The request is not valid: see errors.",
        "errors": {name: ["This field is required."]},
    }
