"""Valet keys: signed, expiring tokens that open one operation to whoever holds its link."""

import time
from typing import Literal
from uuid import UUID

from django.core.signing import BadSignature, Signer

Scope = Literal["read", "cancel"]

#: What each scope allows; to cancel includes to read. Any other scope allows nothing.
ALLOWS: dict[str, frozenset[str]] = {
    "read": frozenset({"read"}),
    "cancel": frozenset({"read", "cancel"}),
}


def make(pk: UUID, *, scope: Scope, seconds: float) -> str:
    """A token for the operation `pk` that is good for `seconds`; URL-safe.

    It holds scope and expiry in plain text, and a signature over them and the id by the
    project's SECRET_KEY.
    """
    expiry = int(time.time() + seconds)
    return _signer().sign(f"{pk}.{scope}.{expiry}").partition(".")[2]


def allows(token: str, pk: UUID, *, wanted: Scope) -> bool:
    """Whether `token` opens the operation `pk` for what is `wanted`, now.

    Compared in constant time; tokens of SECRET_KEY_FALLBACKS are good too.
    """
    try:
        _, scope, expiry = _signer().unsign(f"{pk}.{token}").rsplit(".", 2)
    except (BadSignature, ValueError):
        return False
    return includes(scope, wanted) and time.time() < int(expiry)


def scope(token: str) -> str:
    """What a token that is good was made for; empty for a scope that there is not."""
    made_for = token.partition(".")[0]
    return made_for if made_for in ALLOWS else ""


def includes(scope: str, wanted: Scope) -> bool:
    """Whether keys of this scope allow what is wanted."""
    return wanted in ALLOWS.get(scope, ())


def expiry(token: str) -> int:
    """The second since 1970 from which a token that is good will not be."""
    return int(token.split(".")[1])


def _signer() -> Signer:
    return Signer(salt="async_reply.valet_keys", sep=".")
