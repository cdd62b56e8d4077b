import re
import time
from typing import Any
from uuid import UUID

import pytest
from django.core import signing
from pytest_django import Settings

from async_reply.protocol import valet_keys

PK, OTHER = UUID(int=1), UUID(int=2)


@pytest.fixture
def key() -> str:
    return valet_keys.make(PK, scope="read", seconds=60)


def test_key__opens_its_own_operation(key: str) -> None:
    assert valet_keys.allows(key, PK, wanted="read")
    assert not valet_keys.allows(key, OTHER, wanted="read")


def test_key__needs_no_escaping(key: str) -> None:
    assert re.fullmatch(r"[\w.-]+", key)


@pytest.mark.parametrize(
    ("scope", "wanted", "allowed"),
    [
        ("read", "read", True),
        ("read", "cancel", False),
        ("cancel", "cancel", True),
        ("cancel", "read", True),
    ],
)
def test_key__allows_the_actions_of_its_scope(
    scope: valet_keys.Scope, wanted: valet_keys.Scope, allowed: bool
) -> None:
    key = valet_keys.make(PK, scope=scope, seconds=60)
    assert valet_keys.allows(key, PK, wanted=wanted) == allowed


@pytest.mark.parametrize("scope", ["", "everything", "READ", "cancel ", "reads", "canceling"])
def test_key__of_an_unknown_scope_allows_nothing(scope: Any) -> None:
    key = valet_keys.make(PK, scope=scope, seconds=60)
    wanted: tuple[valet_keys.Scope, ...] = ("read", "cancel")
    assert not any(valet_keys.allows(key, PK, wanted=action) for action in wanted)
    assert not any(valet_keys.includes(scope, action) for action in wanted)
    assert valet_keys.scope(key) == ""


def test_key__is_compared_in_constant_time(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[str, str]] = []

    def compare(signature: str, other: str) -> bool:
        compared.append((signature, other))
        return False

    monkeypatch.setattr(signing, "constant_time_compare", compare)
    assert not valet_keys.allows(key, PK, wanted="read")
    assert [signature for signature, _ in compared] == [key.rpartition(".")[2]]


def test_key__expires(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61)
    assert not valet_keys.allows(key, PK, wanted="read")


def test_key__signed_with_a_fallback_secret_is_valid(key: str, settings: Settings) -> None:
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another" * 10
    assert valet_keys.allows(key, PK, wanted="read")
    settings.SECRET_KEY_FALLBACKS = []
    assert not valet_keys.allows(key, PK, wanted="read")


def test_key__changed_is_invalid(key: str) -> None:
    scope, expiry, signature = key.split(".")
    for forged in (
        f"cancel.{expiry}.{signature}",
        f"{scope}.{int(expiry) + 1}.{signature}",
        f"{scope}.{expiry}.{signature[:-1]}",
        f"{scope}.{expiry}",
        f".{key}",
        f"{key}.",
        key.upper(),
        "",
        ".",
        "..",
        "\x00",
        "é" * 1000,
    ):
        assert not valet_keys.allows(forged, PK, wanted="read")


def test_key__of_another_id_with_its_id_in_front_is_invalid(settings: Settings) -> None:
    """No token can contain another id: the signature covers the id at its place."""
    key = valet_keys.make(OTHER, scope="read", seconds=60)
    assert not valet_keys.allows(f"{OTHER}.{key}", PK, wanted="read")
