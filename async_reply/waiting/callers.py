"""Names the caller of a request, so that limits and queues can treat callers fairly.

A view knows its caller as an owner or an address. The waiting application queues a request before
Django has authenticated it. It recognizes the callers whose credentials Django accepted before.
"""

import re
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Hashable
from hashlib import sha256
from typing import Any
from uuid import UUID

from django.core.exceptions import SuspiciousOperation
from django.http import QueryDict

from async_reply.database.identifiers import IN_PATH
from async_reply.protocol import valet_keys

#: ("owner", text), or ("address", text) for a client without an owner.
Caller = tuple[str, str]

#: Matches the names of header fields that may hold credentials.
CREDENTIALS = re.compile(rb"auth|cookie|key|token|cert")
#: How many credentials a process remembers.
MAX_REMEMBERED = 10_000


def caller(owner: str, address: str) -> Caller:
    return ("owner", owner) if owner else ("address", address)


class KnownCallers:
    """Remembers the owners of accepted credentials, so that each owner has a turn in a queue.

    All unknown callers share one turn. In it the schemes of credentials take turns, in a scheme the
    addresses, at an address the user names, and for a user name the credentials. So a client that
    guesses the passwords of a user delays the unknown callers at its address by one turn.
    """

    def __init__(self) -> None:
        self._owners: OrderedDict[bytes, Caller] = OrderedDict()

    def path(self, scope: Any) -> tuple[Hashable, ...]:
        """The path in a FairQueue for a request that Django has not seen."""
        owner = self._owners.get(_digest(scope))
        if owner is not None:
            return (owner,)
        address = _address(scope)
        if _has_valet_key(scope):
            return (caller("", address),)
        scheme, user = _scheme_and_user(scope)
        return ("unknown", scheme, address, user, _digest(scope))

    def remember(self, scope: Any, owner: Caller) -> None:
        """Django accepted the request of `scope`: its credentials belong to `owner`."""
        digest = _digest(scope)
        if owner[0] == "owner" and digest:
            self._owners[digest] = owner
            self._owners.move_to_end(digest)
            if len(self._owners) > MAX_REMEMBERED:
                self._owners.popitem(last=False)

    def forget(self, scope: Any) -> None:
        """Django refused the credentials of `scope`."""
        self._owners.pop(_digest(scope), None)


def _digest(scope: Any) -> bytes:
    """A digest of all fields that may hold credentials; empty if there are none."""
    fields = [
        name + b": " + value for name, value in scope["headers"] if CREDENTIALS.search(name.lower())
    ]
    return sha256(b"\n".join(fields)).digest() if fields else b""


def _scheme_and_user(scope: Any) -> tuple[bytes, bytes]:
    """The scheme of the Authorization field, and the user name that Basic credentials hold.

    One scheme may be slow to check, another fast.
    """
    for name, value in scope["headers"]:
        if name.lower() == b"authorization":
            scheme, _, credentials = bytes(value).partition(b" ")
            return scheme.lower(), _user(credentials) if scheme.lower() == b"basic" else b""
    return b"", b""


def _user(credentials: bytes) -> bytes:
    """The user name in Basic credentials (RFC 7617, section 2)."""
    try:
        return b64decode(credentials).partition(b":")[0]
    except ValueError:
        return b""


def _address(scope: Any) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _has_valet_key(scope: Any) -> bool:
    """Whether the URL has a valid valet key for its operation."""
    try:
        signatures = QueryDict(scope["query_string"]).getlist("sig")
    except SuspiciousOperation:  # more parameters than the project allows
        return False
    id_match = IN_PATH.search(scope["path"])
    if id_match is None or len(signatures) != 1:
        return False
    return valet_keys.allows(signatures[0], UUID(id_match[0]), wanted="read")
