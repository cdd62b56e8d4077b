"""Attributes of a submit view for other clients: each changes one header and nothing else."""

from typing import Any

import pytest
from django.test import Client, RequestFactory
from pytest_django import Settings
from rest_framework.test import APIClient

from async_reply import services
from async_reply.documents import links
from async_reply.models import Operation
from async_reply.testing import run_operations
from tests.clients.views import BulkExportView
from tests.project.tasks import create
from tests.project.views import EchoView

pytestmark = pytest.mark.django_db


def point_to_the_result(view: Any, operation: Any) -> dict[str, str]:
    return {"Content-Location": links(operation, view.request)["result"]}


#: Attribute, value, and the changed headers of the 202: name -> link, or None for no header.
CHANGES: list[tuple[str, Any, dict[str, str | None]]] = [
    ("location_target", "status", {}),
    ("location_target", "result", {"Location": "result"}),
    ("operation_headers", [], {"Operation-Location": None}),
    (
        "operation_headers",
        ["Azure-AsyncOperation"],
        {"Operation-Location": None, "Azure-AsyncOperation": "monitor"},
    ),
    (
        "operation_headers",
        ["Operation-Location", "Azure-AsyncOperation"],
        {"Azure-AsyncOperation": "monitor"},
    ),
    ("get_accepted_headers", point_to_the_result, {"Content-Location": "result"}),
]


@pytest.mark.parametrize(("attribute", "value", "changed"), CHANGES)
def test_attribute__changes_its_header_and_no_url(
    api: APIClient,
    monkeypatch: pytest.MonkeyPatch,
    attribute: str,
    value: Any,
    changed: dict[str, str | None],
) -> None:
    monkeypatch.setattr(EchoView, attribute, value)
    accepted = api.post("/echoes/", {"number": 7})
    urls = accepted.json()["links"]
    expected = {"Location": "self", "Operation-Location": "monitor", **changed}
    headers = {name: urls[link] for name, link in expected.items() if link is not None}
    names = {"Location", "Operation-Location", "Azure-AsyncOperation", "Content-Location"}
    assert {name: accepted[name] for name in names & set(accepted.headers)} == headers
    run_operations()
    statuses = [api.get(urls[link]).status_code for link in ("self", "monitor", "result")]
    assert statuses == [302, 200, 200]


@pytest.mark.parametrize("redirect_status", [302, 303])
@pytest.mark.parametrize("result_status", [200, 201, 204])
def test_attribute__statuses_of_the_view(
    api: APIClient, monkeypatch: pytest.MonkeyPatch, redirect_status: int, result_status: int
) -> None:
    monkeypatch.setattr(EchoView, "redirect_status", redirect_status)
    monkeypatch.setattr(EchoView, "result_status", result_status)
    urls = api.post("/echoes/", {"number": 7}).json()["links"]
    assert [api.get(urls[link]).status_code for link in ("self", "monitor", "result")] == [
        200,
        200,
        202,
    ]
    run_operations()
    assert [api.get(urls[link]).status_code for link in ("self", "monitor", "result")] == [
        redirect_status,
        200,
        result_status,
    ]


@pytest.mark.parametrize("of_the_view", [None, 302])
def test_setting__redirect_status(
    api: APIClient, settings: Settings, monkeypatch: pytest.MonkeyPatch, of_the_view: int | None
) -> None:
    """A submit remembers the status. A submit without HTTP has none, so the setting counts."""
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "REDIRECT_STATUS": 303}
    monkeypatch.setattr(EchoView, "redirect_status", of_the_view)
    monkeypatch.setattr(EchoView, "task", create)
    by_view = api.post("/echoes/", {"number": 7}).json()["links"]
    owner = Operation.objects.get().owner
    without_http = f"/api/operations/{services.submit(create, owner=owner).pk}/"
    run_operations()
    expected = of_the_view or 303
    assert [api.get(by_view[link]).status_code for link in ("self", "result")] == [expected] * 2
    assert api.get(without_http).status_code == 303
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "REDIRECT_STATUS": 302}
    assert api.get(by_view["self"]).status_code == expected
    assert api.get(without_http).status_code == 302


def test_bulk_export__by_a_get_with_a_cookie_is_401(
    rf: RequestFactory, client: Client, user: Any
) -> None:
    """A page of any origin can make a browser send a GET with the user's cookies."""
    client.force_login(user)
    request: Any = rf.get("/fhir/$export")
    request.session, request.user = client.session, user
    assert BulkExportView.as_view()(request).status_code == 401
    assert not Operation.objects.exists()
