"""Names the caller of a request: as views know it, and as far as it shows before Django looks."""

import re
from collections import OrderedDict
from collections.abc import Hashable
from hashlib import sha256
from typing import Any
from uuid import UUID

from django.core.exceptions import SuspiciousOperation
from django.http import QueryDict

from async_reply.database.identifiers import IN_PATH
from async_reply.protocol import valet_keys

#: An owner; or the address of a client that has none.
Caller = tuple[str, str]

#: Header fields that may hold credentials, by their names.
CREDENTIALS = re.compile(rb"auth|cookie|key|token|cert")
#: How many credentials a process remembers.
REMEMBERED = 10_000


def caller(owner: str, address: str) -> Caller:
    return ("owner", owner) if owner else ("address", address)


class Acquaintances:
    """Remembers whose the credentials were that have been let in, so that they have a turn.

    Strangers share one turn: each scheme of credentials takes it in turn, in a scheme each address,
    and of an address each of its credentials. Who guesses passwords delays strangers alone, and
    those who show a token not even then.
    """

    def __init__(self) -> None:
        self._owners: OrderedDict[bytes, Caller] = OrderedDict()

    def turn(self, scope: Any) -> tuple[Hashable, ...]:
        """The turn of a request that Django has not seen."""
        known = self._owners.get(_digest(scope))
        if known is not None:
            return (known,)
        address = _address(scope)
        if _holds_key(scope):
            return (caller("", address),)
        return ("strangers", _scheme(scope), address, _digest(scope))

    def remember(self, scope: Any, owner: Caller) -> None:
        """The request of `scope` was let in, and its credentials are those of `owner`."""
        digest = _digest(scope)
        if owner[0] == "owner" and digest:
            self._owners[digest] = owner
            self._owners.move_to_end(digest)
            if len(self._owners) > REMEMBERED:
                self._owners.popitem(last=False)

    def forget(self, scope: Any) -> None:
        """The request of `scope` was refused."""
        self._owners.pop(_digest(scope), None)


def _digest(scope: Any) -> bytes:
    """Of all that may be credentials; empty where there is none."""
    fields = [
        name + b": " + value for name, value in scope["headers"] if CREDENTIALS.search(name.lower())
    ]
    return sha256(b"\n".join(fields)).digest() if fields else b""


def _scheme(scope: Any) -> bytes:
    """That of an Authorization field; what is slow to check in one scheme is not in others."""
    for name, value in scope["headers"]:
        if name.lower() == b"authorization":
            return bytes(value).partition(b" ")[0].lower()
    return b""


def _address(scope: Any) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _holds_key(scope: Any) -> bool:
    """Whether the URL has a good valet key."""
    try:
        given = QueryDict(scope["query_string"]).getlist("sig")
    except SuspiciousOperation:  # more parameters than the project takes
        return False
    found = IN_PATH.search(scope["path"])
    if found is None or len(given) != 1:
        return False
    return valet_keys.allows(given[0], UUID(found[0]), wanted="read")
