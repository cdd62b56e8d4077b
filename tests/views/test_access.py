"""OperationAccess as projects override it, for callers without a row, without a user, in groups."""

from typing import Any

import pytest
from django.core import signing
from pytest_django import Settings
from rest_framework.test import APIClient

from async_reply.models import Operation
from async_reply.permissions import OperationAccess
from async_reply.testing import run_operations

pytestmark = pytest.mark.django_db

Headers = dict[str, str]


def bearer(subject: str, *groups: str) -> Headers:
    token = signing.dumps({"sub": subject, "groups": groups}, salt="claims")
    return {"Authorization": f"Bearer {token}"}


def key(secret: str) -> Headers:
    return {"X-Api-Key": secret}


#: ACCESS; the headers of a caller, of another caller, of a refused caller; the first one's owner.
CALLERS = [
    (
        "ClaimsAccess",
        bearer("auth0|1"),
        bearer("auth0|2"),
        {"Authorization": "Bearer x"},
        "auth0|1",
    ),
    ("KeyAccess", key("secret-1"), key("secret-2"), key("guessed"), "key:robot"),
    (
        "GroupAccess",
        {**bearer("ada", "sales"), "X-Group": "sales"},
        {**bearer("eve", "it"), "X-Group": "sales"},
        {"X-Group": "sales"},
        "group:sales",
    ),
]


@pytest.mark.parametrize(("access", "caller", "other", "refused", "owner"), CALLERS)
def test_access__whole_conversation_of_each_caller(
    settings: Settings, access: str, caller: Headers, other: Headers, refused: Headers, owner: str
) -> None:
    settings.ASYNC_REPLY = {"ACCESS": f"tests.project.access.{access}", "MAX_UNFINISHED": 1}
    client = APIClient(raise_request_exception=False)
    options: Any = {"headers": {**caller, "Idempotency-Key": "k"}}
    accepted = client.post("/echoes/", {"number": 7}, **options)
    assert (accepted.status_code, Operation.objects.get().owner) == (202, owner)
    location = accepted["Location"]
    assert client.post("/echoes/", {"number": 7}, **options).json() == accepted.json()
    assert client.post("/echoes/", {}, headers=caller).status_code == 429
    assert client.get(location, headers=caller).status_code == 200
    for method in ("get", "delete"):
        assert getattr(client, method)(location, headers=other).status_code == 404
        assert getattr(client, method)(location, headers=refused).status_code == 401
        assert getattr(client, method)(location).status_code == 401
    assert client.get("/api/operations/", headers=other).json()["results"] == []
    assert client.post("/echoes/", {}, headers=refused).status_code == 401
    run_operations()
    result = client.get(location, headers=caller)["Location"]
    assert client.get(result, headers=caller).json() == {"number": 7}
    assert client.get(result, headers=other).status_code == 404


def test_group__members_share_its_operations_only(settings: Settings) -> None:
    settings.ASYNC_REPLY = {"ACCESS": "tests.project.access.GroupAccess"}
    client = APIClient()
    ada, bob = bearer("ada", "sales"), bearer("bob", "sales", "it")
    shared = client.post("/echoes/", {}, headers={**ada, "X-Group": "sales"})
    own = client.post("/echoes/", {}, headers=ada)
    assert client.get(shared["Location"], headers=bob).status_code == 200
    assert client.get(own["Location"], headers=bob).status_code == 404
    assert client.post(shared.json()["links"]["cancel"], headers=bob).json()["status"] == "canceled"
    assert client.get(shared["Location"], headers=bearer("ada")).status_code == 404


@pytest.mark.parametrize("name", ["", "monitor/", "result/", "events/"])
def test_get_queryset__may_select_the_related_operation(
    api: APIClient, running: Operation, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def get_queryset(self: OperationAccess, request: Any) -> Any:
        return Operation.objects.filter(owner=self.get_owner(request)).select_related("rerun_of")

    monkeypatch.setattr(OperationAccess, "get_queryset", get_queryset)
    assert api.get(f"/api/operations/{running.pk}/{name}").status_code in {200, 202}


@pytest.mark.parametrize("url_end", ["", "monitor/", "events/", "result/"])
def test_get_queryset__set_on_the_instance_hides_operations(
    settings: Settings, api: APIClient, running: Operation, url_end: str
) -> None:
    assert api.get(f"/api/operations/{running.pk}/monitor/").status_code == 200
    settings.ASYNC_REPLY = {"ACCESS": "tests.project.access.HidingAccess"}
    assert api.get(f"/api/operations/{running.pk}/{url_end}").status_code == 404
