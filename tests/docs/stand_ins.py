"""Stands in for packages that how-to pages name and that are not installed here."""

import sys
from types import ModuleType
from typing import Any, ClassVar

import pytest
from rest_framework.permissions import BasePermission
from rest_framework.request import Request


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
    """A second model of users."""

    is_authenticated = True

    def __init__(self, pk: int) -> None:
        self.pk = pk


MODULES: dict[str, dict[str, Any]] = {
    "rest_framework_api_key.models": {"APIKey": APIKey},
    "rest_framework_api_key.permissions": {"HasAPIKey": HasAPIKey},
    "rest_framework_simplejwt.models": {"TokenUser": TokenUser},
    "shop.models": {"Customer": Customer},
}


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the modules be imported until the end of the test."""
    for path, members in MODULES.items():
        for name in (path.partition(".")[0], path):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        vars(sys.modules[path]).update(members)
