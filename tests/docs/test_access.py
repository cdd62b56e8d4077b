"""The how-to's classes of callers, from submit to result; packages it names have stand-ins here."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.test import APIClient

from async_reply.models import Operation
from async_reply.testing import run_operations
from tests.packaging.documents import snippets

pytestmark = pytest.mark.django_db

HOW_TO = Path(__file__).parents[2] / "docs/how-to.rst"


class APIKey:
    """As the model of djangorestframework-api-key: a key is its prefix, a dot and a secret."""

    class DoesNotExist(Exception):
        pass

    class Objects:
        keys: ClassVar[dict[str, str]] = {"aaaa.1": "aaaa", "bbbb.2": "bbbb"}

        def get_from_key(self, key: str) -> "APIKey":
            if key not in self.keys:
                raise APIKey.DoesNotExist
            return APIKey(self.keys[key])

        def is_valid(self, key: str) -> bool:
            return key in self.keys

    objects = Objects()

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix


class HasAPIKey(BasePermission):
    """As its permission: `Authorization: Api-Key …`."""

    def get_key(self, request: Request) -> str | None:
        keyword, _, key = request.headers.get("Authorization", "").partition(" ")
        return key or None if keyword == "Api-Key" else None

    def has_permission(self, request: Request, view: Any) -> bool:
        key = self.get_key(request)
        return key is not None and APIKey.objects.is_valid(key)


class TokenUser:
    """As that of djangorestframework-simplejwt: claims, and no row."""

    is_authenticated = True
    is_active = True

    def __init__(self, token: dict[str, Any]) -> None:
        self.token = token
        self.id = self.pk = token["user_id"]


class Customer:
    is_authenticated = True

    def __init__(self, pk: int) -> None:
        self.pk = pk


STAND_INS: dict[str, dict[str, Any]] = {
    "rest_framework_api_key.models": {"APIKey": APIKey},
    "rest_framework_api_key.permissions": {"HasAPIKey": HasAPIKey},
    "rest_framework_simplejwt.models": {"TokenUser": TokenUser},
    "shop.models": {"Customer": Customer},
}


def user(pk: int, **fields: Any) -> Any:
    made = User.objects.create_user(f"user{pk}", pk=pk)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def by_header(**headers: str) -> Callable[[], APIClient]:
    return lambda: APIClient(headers={key.replace("_", "-"): headers[key] for key in headers})


def speaking_for(make: Callable[[], Any]) -> Callable[[], APIClient]:
    def client() -> APIClient:
        made = APIClient()
        made.force_authenticate(make())
        return made

    return client


#: File and class; a caller, its owner, who sees the same, and others, who see nothing of it.
CALLERS: list[tuple[str, str, Any, str, list[Any], list[Any]]] = [
    (
        "project/keys.py",
        "KeyAccess",
        by_header(Authorization="Api-Key aaaa.1"),
        "key:aaaa",
        [],
        [by_header(Authorization="Api-Key bbbb.2")],
    ),
    (
        "project/tokens.py",
        "TokenAccess",
        speaking_for(lambda: TokenUser({"user_id": 7})),
        "7",
        [speaking_for(lambda: user(7))],
        [speaking_for(lambda: TokenUser({"user_id": 8}))],
    ),
    (
        "project/gateway.py",
        "GatewayAccess",
        by_header(X_Gateway_User="ada"),
        "gateway:ada",
        [],
        [by_header(X_Gateway_User="eve")],
    ),
    (
        "project/tenants.py",
        "TenantAccess",
        speaking_for(lambda: user(7, tenant_id=1)),
        "tenant:1",
        [speaking_for(lambda: user(8, tenant_id=1))],
        [speaking_for(lambda: user(9, tenant_id=2))],
    ),
    (
        "project/customers.py",
        "EitherAccess",
        speaking_for(lambda: Customer(7)),
        "customer:7",
        [],
        [speaking_for(lambda: user(7)), speaking_for(lambda: Customer(8))],
    ),
]
#: Callers who own nothing: without a key, with one that is wrong, without a tenant.
NOBODIES = [
    ("project/keys.py", "KeyAccess", APIClient),
    ("project/keys.py", "KeyAccess", by_header(Authorization="Api-Key aaaa.3")),
    ("project/keys.py", "KeyAccess", by_header(Authorization="Token aaaa.1")),
    ("project/tokens.py", "TokenAccess", APIClient),
    ("project/gateway.py", "GatewayAccess", APIClient),
    ("project/gateway.py", "GatewayAccess", by_header(X_Gateway_User="")),
    ("project/tenants.py", "TenantAccess", APIClient),
    ("project/tenants.py", "TenantAccess", speaking_for(lambda: user(7))),
    ("project/tenants.py", "TenantAccess", speaking_for(lambda: user(7, tenant_id=None))),
    ("project/customers.py", "EitherAccess", APIClient),
]


@pytest.fixture
def follow(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Callable[..., None]:
    """Do as the how-to says, with the class from this file of it."""

    def configure(file: str, name: str, **configured: Any) -> None:
        for stand_in, members in STAND_INS.items():
            for each in (stand_in.partition(".")[0], stand_in):
                monkeypatch.setitem(sys.modules, each, ModuleType(each))
            vars(sys.modules[stand_in]).update(members)
        (text,) = [text for path, text in snippets(HOW_TO) if path == file]
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
    for each in (client, *(make() for make in same)):
        assert each.get(result).json() == {"number": 7}
        assert len(each.get("/api/operations/").json()["results"]) == 1
    for make in others:
        other = make()
        assert other.get(result).status_code == 404
        assert other.get("/api/operations/").json()["results"] == []


@pytest.mark.parametrize(("file", "name", "nobody"), NOBODIES)
def test_access__of_nobody_is_refused(
    follow: Callable[..., None], file: str, name: str, nobody: Callable[[], APIClient]
) -> None:
    follow(file, name)
    client = nobody()
    assert client.post("/echoes/", {"number": 7}).status_code in {401, 403}
    assert client.get("/api/operations/").status_code in {401, 403}
    assert not Operation.objects.exists()


@pytest.mark.parametrize(("file", "name", "caller", "owner", "same", "others"), CALLERS)
def test_poll_rate__counts_by_owner(
    follow: Callable[..., None],
    file: str,
    name: str,
    caller: Callable[[], APIClient],
    owner: str,
    same: list[Callable[[], APIClient]],
    others: list[Callable[[], APIClient]],
) -> None:
    """All come from one address; some have no primary key, and two kinds of users have the same."""
    follow(file, name, POLL_RATE="2/day")
    url = "/api/operations/0192aaaa-0000-7000-8000-000000000000/"
    client = caller()
    assert [client.get(url).status_code for _ in range(3)] == [404, 404, 429]
    assert [make().get(url).status_code for make in same] == [429] * len(same)
    assert [make().get(url).status_code for make in others] == [404] * len(others)
