"""What Django answers a client who has waited: each time its credentials are looked at anew.

The ticker's thread asks, by Django's own handler and over its own database connection: thousands
who are told at a time take neither more threads nor more connections. Who asked the very same of
the same change is told the same, unless a cookie comes with it.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property
from io import BytesIO
from typing import Any

from django.core.handlers.asgi import ASGIRequest, get_script_prefix
from django.core.handlers.base import BaseHandler
from django.db import connections
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

from async_reply import headers
from async_reply.scopes import Message, Scope, Send
from async_reply.watch import Shared

Field = tuple[bytes, bytes]


class Answer:
    """An answer of Django's, kept back."""

    def __init__(self, code: int = 0, fields: Iterable[Field] = (), body: bytes = b"") -> None:
        self.code = code
        self.fields = list(fields)
        self._parts = [body]

    @property
    def body(self) -> bytes:
        return b"".join(self._parts)

    def take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.code = message["status"]
            self.fields = list(message["headers"])
        elif message["type"] == "http.response.body":
            self._parts.append(message.get("body", b""))

    def field(self, name: bytes) -> str:
        values = [value for key, value in self.fields if key.lower() == name]
        return b", ".join(values).decode("latin-1")

    def having(self, fields: Mapping[str, str]) -> "Answer":
        """The same with other values of `fields`."""
        return Answer(self.code, replaced(self.fields, fields, fields), self.body)

    def applied(self, seconds: float) -> "Answer":
        """The same, saying that the wish to wait was followed."""
        name = "Preference-Applied"
        told = headers.applied(self.field(name.lower().encode("ascii")), int(seconds))
        return self.having({name: told})

    async def send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.code, "headers": self.fields})
        await send({"type": "http.response.body", "body": self.body})


def replaced(fields: Iterable[Field], names: Iterable[str], new: Mapping[str, str]) -> list[Field]:
    """`fields` without those named, and with new ones."""
    gone = {name.lower().encode("ascii") for name in names}
    kept = [field for field in fields if field[0].lower() not in gone]
    return [*kept, *((name.encode("ascii"), new[name].encode("latin-1")) for name in new)]


class Django:
    """The project's middleware and views, called in the thread that asks."""

    @cached_property
    def _handler(self) -> BaseHandler:
        handler = BaseHandler()
        handler.load_middleware()
        return handler

    def ask(self, scope: Scope, shared: Shared) -> Answer:
        """What `scope`, a request without a body, is answered; in the ticker's thread."""
        client = (scope.get("client") or ("",))[0]
        fields = tuple(scope["headers"])
        key = (scope["method"], scope["path"], scope["query_string"], client, fields)
        known: Answer | None = shared.get(key)
        if known is not None:
            return known
        set_script_prefix(get_script_prefix(scope))
        answer = self._asked(scope)
        # What of the project's own middleware fails is no 503 of ours.
        if answer.code >= 500 and _end_broken_connections():
            answer = self._asked(scope)
        if not answer.field(b"set-cookie"):  # else it is meant for one client
            shared[key] = answer
        return answer

    def _asked(self, scope: Scope) -> Answer:
        # Neither signal of a request is sent: they would close the ticker's connection.
        return _kept(self._handler.get_response(ASGIRequest(scope, BytesIO())))


def _end_broken_connections() -> bool:
    """Close those of this thread that failed and cannot be used any more: whether there were."""
    broken = [
        each
        for each in connections.all(initialized_only=True)
        if each.connection is not None and each.errors_occurred and not each.is_usable()
    ]
    for each in broken:
        each.close()
    return bool(broken)


def _kept(response: HttpResponseBase) -> Answer:
    chunks: Any = response
    fields = [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
    cookies = (each.output(header="").strip() for each in response.cookies.values())
    fields += [(b"Set-Cookie", cookie.encode("ascii")) for cookie in cookies]
    return Answer(response.status_code, fields, b"".join(chunks))
