"""The how-tos' classes of callers, from submit to result."""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings
from rest_framework.test import APIClient

from async_reply.models import Operation
from async_reply.testing import run_operations
from tests.docs import stand_ins
from tests.docs.stand_ins import Customer, TokenUser
from tests.packaging.documents import HOW_TO, snippets

pytestmark = pytest.mark.django_db

PAGES = [HOW_TO / "decide-who-sees-what.rst", HOW_TO / "callers-without-users.rst"]


def user(pk: int, **fields: Any) -> Any:
    user = User.objects.create_user(f"user{pk}", pk=pk)
    for name, value in fields.items():
        setattr(user, name, value)
    return user


def with_headers(**headers: str) -> Callable[[], APIClient]:
    return lambda: APIClient(headers={key.replace("_", "-"): headers[key] for key in headers})


def authenticated_as(make: Callable[[], Any]) -> Callable[[], APIClient]:
    def make_client() -> APIClient:
        client = APIClient()
        client.force_authenticate(make())
        return client

    return make_client


#: File and class; a caller, its owner, callers who see the same, and callers who see nothing of it.
CALLERS: list[tuple[str, str, Any, str, list[Any], list[Any]]] = [
    (
        "project/keys.py",
        "KeyAccess",
        with_headers(Authorization="Api-Key aaaa.1"),
        "key:aaaa",
        [],
        [with_headers(Authorization="Api-Key bbbb.2")],
    ),
    (
        "project/tokens.py",
        "TokenAccess",
        authenticated_as(lambda: TokenUser({"user_id": 7})),
        "7",
        [authenticated_as(lambda: user(7))],
        [authenticated_as(lambda: TokenUser({"user_id": 8}))],
    ),
    (
        "project/gateway.py",
        "GatewayAccess",
        with_headers(X_Gateway_User="ada"),
        "gateway:ada",
        [],
        [with_headers(X_Gateway_User="eve")],
    ),
    (
        "project/tenants.py",
        "TenantAccess",
        authenticated_as(lambda: user(7, tenant_id=1)),
        "tenant:1",
        [authenticated_as(lambda: user(8, tenant_id=1))],
        [authenticated_as(lambda: user(9, tenant_id=2))],
    ),
    (
        "project/customers.py",
        "EitherAccess",
        authenticated_as(lambda: Customer(7)),
        "customer:7",
        [],
        [authenticated_as(lambda: user(7)), authenticated_as(lambda: Customer(8))],
    ),
]
#: Callers who own nothing: without a key, with a wrong key, without a tenant.
NOBODIES = [
    ("project/keys.py", "KeyAccess", APIClient),
    ("project/keys.py", "KeyAccess", with_headers(Authorization="Api-Key aaaa.3")),
    ("project/keys.py", "KeyAccess", with_headers(Authorization="Token aaaa.1")),
    ("project/tokens.py", "TokenAccess", APIClient),
    ("project/gateway.py", "GatewayAccess", APIClient),
    ("project/gateway.py", "GatewayAccess", with_headers(X_Gateway_User="")),
    ("project/tenants.py", "TenantAccess", APIClient),
    ("project/tenants.py", "TenantAccess", authenticated_as(lambda: user(7))),
    ("project/tenants.py", "TenantAccess", authenticated_as(lambda: user(7, tenant_id=None))),
    ("project/customers.py", "EitherAccess", APIClient),
]


@pytest.fixture
def follow(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Callable[..., None]:
    """Name the class from this file of the how-tos in the settings."""

    def configure(file: str, name: str, **configured: Any) -> None:
        stand_ins.install(monkeypatch)
        (text,) = [text for page in PAGES for path, text in snippets(page) if path == file]
        module = ModuleType("how_to_access")
        exec(text, vars(module))
        monkeypatch.setitem(sys.modules, "how_to_access", module)
        settings.ASYNC_REPLY = {"ACCESS": f"how_to_access.{name}", **configured}

    return configure


@pytest.mark.parametrize(("file", "name", "caller", "owner", "same", "others"), CALLERS)
def test_access__from_submit_to_result(
    follow: Callable[..., None],
    file: str,
    name: str,
    caller: Callable[[], APIClient],
    owner: str,
    same: list[Callable[[], APIClient]],
    others: list[Callable[[], APIClient]],
) -> None:
    follow(file, name)
    client = caller()
    accepted = client.post("/echoes/", {"number": 7}, headers={"Idempotency-Key": "k"})
    assert accepted.status_code == 202, accepted.content
    assert Operation.objects.get().owner == owner
    run_operations()
    result = accepted.json()["links"]["result"]
    for allowed in (client, *(make() for make in same)):
        assert allowed.get(result).json() == {"number": 7}
        assert len(allowed.get("/api/operations/").json()["results"]) == 1
    for make in others:
        other = make()
        assert other.get(result).status_code == 404
        assert other.get("/api/operations/").json()["results"] == []


@pytest.mark.parametrize(("file", "name", "nobody"), NOBODIES)
def test_access__without_an_owner_is_refused(
    follow: Callable[..., None], file: str, name: str, nobody: Callable[[], APIClient]
) -> None:
    follow(file, name)
    client = nobody()
    assert client.post("/echoes/", {"number": 7}).status_code in {401, 403}
    assert client.get("/api/operations/").status_code in {401, 403}
    assert not Operation.objects.exists()


@pytest.mark.parametrize(("file", "name", "caller", "owner", "same", "others"), CALLERS)
def test_poll_rate__counts_for_each_owner(
    follow: Callable[..., None],
    file: str,
    name: str,
    caller: Callable[[], APIClient],
    owner: str,
    same: list[Callable[[], APIClient]],
    others: list[Callable[[], APIClient]],
) -> None:
    """Callers that share an address, or the primary key of different models, are kept apart."""
    follow(file, name, POLL_RATE="2/day")
    url = "/api/operations/0192aaaa-0000-7000-8000-000000000000/"
    client = caller()
    assert [client.get(url).status_code for _ in range(3)] == [404, 404, 429]
    assert [make().get(url).status_code for make in same] == [429] * len(same)
    assert [make().get(url).status_code for make in others] == [404] * len(others)
