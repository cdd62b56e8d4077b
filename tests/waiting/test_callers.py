"""The turn of a request in the queue, before Django has authenticated it."""

from base64 import b64encode
from typing import Any

import pytest

from async_reply.database.identifiers import uuid7
from async_reply.protocol import valet_keys
from async_reply.waiting import callers
from async_reply.waiting.callers import KnownCallers

ADA = ("owner", "ada")


def scope(*fields: tuple[bytes, bytes], path: str = "/", query: bytes = b"") -> dict[str, Any]:
    return {
        "headers": list(fields),
        "client": ("10.0.0.1", 1234),
        "path": path,
        "query_string": query,
    }


TOKEN = (b"authorization", b"Token x")


def test_path__of_accepted_credentials_is_their_owner() -> None:
    known = KnownCallers()
    assert known.path(scope(TOKEN))[0] == "unknown"
    known.remember(scope(TOKEN), ADA)
    assert known.path(scope(TOKEN, (b"accept", b"*/*"))) == (ADA,)
    assert known.path(scope((b"authorization", b"Token y")))[0] == "unknown"
    known.forget(scope(TOKEN))
    assert known.path(scope(TOKEN))[0] == "unknown"


def basic(text: str) -> dict[str, Any]:
    return scope((b"authorization", b"Basic " + b64encode(text.encode())))


def test_path__of_unknown_credentials_has_scheme_address_user_and_credentials() -> None:
    first = KnownCallers().path(basic("eve:1"))
    second = KnownCallers().path(basic("eve:2"))
    assert first[:4] == second[:4] == ("unknown", b"basic", "10.0.0.1", b"eve")
    assert first[4] != second[4]
    assert KnownCallers().path(basic("bob:1"))[3] == b"bob"


@pytest.mark.parametrize("value", [b"Basic", b"Basic a", b"Basic \xff", b"Token eve:1", b""])
def test_path__of_credentials_without_a_user(value: bytes) -> None:
    assert KnownCallers().path(scope((b"authorization", value)))[3] == b""


def test_path__of_a_valid_valet_key_is_the_address() -> None:
    pk = uuid7()
    for seconds, expected in ((60, ("address", "10.0.0.1")), (-1, "unknown")):
        key = valet_keys.make(pk, scope="read", seconds=seconds)
        request = scope(path=f"/api/operations/{pk}/", query=f"sig={key}".encode())
        assert KnownCallers().path(request)[0] == expected


def test_remember__needs_an_owner_and_credentials() -> None:
    known = KnownCallers()
    known.remember(scope(), ADA)
    known.remember(scope(TOKEN), ("address", "10.0.0.1"))
    assert known.path(scope())[0] == known.path(scope(TOKEN))[0] == "unknown"


def test_remember__forgets_the_oldest_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "MAX_REMEMBERED", 2)
    known = KnownCallers()
    scopes = [scope((b"authorization", b"Token %d" % number)) for number in range(3)]
    for request in scopes:
        known.remember(request, ADA)
    assert [known.path(request)[0] for request in scopes][1:] == [ADA, ADA]
    assert known.path(scopes[0])[0] == "unknown"
