"""Makes and checks valet keys: signed, expiring tokens in links that open one operation."""

import re
import time
from typing import Literal
from uuid import UUID

from django.core.signing import BadSignature, Signer

Scope = Literal["read", "cancel"]

#: The actions that each scope allows. A scope that is missing here allows nothing.
ALLOWS: dict[str, frozenset[str]] = {
    "read": frozenset({"read"}),
    "cancel": frozenset({"read", "cancel"}),
}

#: The scope of a key for one question, which opens nothing else.
INPUT = re.compile(r"input-[1-9][0-9]*")


def input_scope(number: int) -> str:
    """The scope of the keys for the question of this number."""
    return f"input-{number}"


def make(pk: UUID, *, scope: Scope | str, seconds: float) -> str:
    """A URL-safe token for the operation `pk`, valid for `seconds`.

    It holds scope and expiry in plain text, and a signature of them and the id with the project's
    SECRET_KEY.
    """
    expiry = int(time.time() + seconds)
    return _signer().sign(f"{pk}.{scope}.{expiry}").partition(".")[2]


def allows(token: str, pk: UUID, *, wanted: Scope | str) -> bool:
    """Whether `token` allows the `wanted` action on the operation `pk`, now.

    Signatures are compared in constant time. Those made with SECRET_KEY_FALLBACKS are valid too.
    """
    try:
        _, scope, expiry = _signer().unsign(f"{pk}.{token}").rsplit(".", 2)
    except (BadSignature, ValueError):
        return False
    return includes(scope, wanted) and time.time() < int(expiry)


def scope(token: str) -> str:
    """The scope of a valid token; empty if there is no such scope."""
    name = token.partition(".")[0]
    return name if name in ALLOWS or INPUT.fullmatch(name) else ""


def includes(scope: str, wanted: Scope | str) -> bool:
    """Whether keys of this scope allow the `wanted` action. One for a question allows no other."""
    if INPUT.fullmatch(scope):
        return scope == wanted
    return wanted in ALLOWS.get(scope, ())


def expiry(token: str) -> int:
    """The time at which a valid token expires, in seconds since 1970."""
    return int(token.split(".")[1])


def _signer() -> Signer:
    return Signer(salt="async_reply.valet_keys", sep=".")
