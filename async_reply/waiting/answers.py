"""What Django answers a client who has waited: each time its credentials are looked at anew.

The project's middleware and views are asked as they were for the first request, by a request that
is made of it, in a thread and a context that hold nothing of any other request.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache, partial
from io import BytesIO
from typing import Any

from django.conf import settings
from django.core import signals
from django.core.handlers.asgi import ASGIHandler, ASGIRequest, get_script_prefix
from django.core.handlers.base import BaseHandler
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest, get_script_name
from django.db import connections
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

from async_reply.protocol import headers
from async_reply.waiting import environs
from async_reply.waiting.callers import Caller
from async_reply.waiting.executor import askers, disconnect
from async_reply.waiting.scopes import Message, Scope, Send, identity
from async_reply.waiting.ticker import Shared
from async_reply.waiting.tickets import KEY, Known, Parking, Ticket

Field = tuple[bytes, bytes]


class Answer:
    """An answer of Django's, kept back."""

    def __init__(
        self,
        code: int = 0,
        fields: Iterable[Field] = (),
        body: bytes = b"",
        ticket: Ticket | None = None,
    ) -> None:
        self.code = code
        self.fields = list(fields)
        #: The ticket that the view has left for a client that is to wait.
        self.ticket = ticket
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
        return Answer(self.code, replaced(self.fields, fields, fields), self.body, self.ticket)

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


class Question:
    """A request that is about to be answered, and how many clients want to know."""

    def __init__(self, scope: Scope, caller: Caller) -> None:
        self.scope = scope  # kept: its identity is good for as long
        self.clients = 0
        self.answer: Future[Answer] = askers.call(caller, partial(answered, scope))


async def ask(scope: Scope, caller: Caller, shared: Shared) -> Answer:
    """What `scope`, a request without a body, is answered, when it is the caller's turn.

    Clients that ask the same question of the same change share the answer, unless it sets a cookie.
    A question whose clients have all left is not asked.
    """
    key = (id(asyncio.get_running_loop()), identity(scope))
    question: Question | None = shared.get(key)
    is_first = question is None or question.answer.cancelled()
    if question is None or is_first:
        question = shared[key] = Question(scope, caller)
    question.clients += 1
    try:
        answer: Answer = await asyncio.shield(asyncio.wrap_future(question.answer))
    finally:
        question.clients -= 1
        if not question.clients:
            question.answer.cancel()
    if answer.field(b"set-cookie") and not is_first:
        return await ask(scope, caller, {})
    return answer


def answered(scope: Scope) -> Answer:
    """What the project answers a request of ASGI, for a thread that keeps its connections."""
    answer, is_broken = _answered(scope)
    return _answered(scope)[0] if is_broken else answer


def _answered(scope: Scope) -> tuple[Answer, bool]:
    """The answer, and whether it is an error for a connection that had been cut before."""
    response = _respond(
        ASGIHandler, lambda: ASGIRequest(scope, BytesIO()), get_script_prefix(scope), scope=scope
    )
    is_broken = response.status_code >= 500 and _end_broken_connections()
    chunks: Any = response
    fields = [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
    cookies = (each.output(header="").strip() for each in response.cookies.values())
    fields += [(b"Set-Cookie", cookie.encode("ascii")) for cookie in cookies]
    answer = Answer(response.status_code, fields, b"".join(chunks), scope[KEY].ticket)
    _keep_connections()
    response.close()  # this sends the signal that a request is over
    return answer, is_broken


def ask_in_thread(
    environ: dict[str, Any], url: str, *, known: Known | None = None
) -> tuple[HttpResponseBase, Parking]:
    """The answer to a GET of `url` by the client of `environ` now, and the Parking of its view.

    A thread of its own asks, which is gone afterwards: the thread that waits is still within the
    project's middleware, and keeps what that has put there.
    """
    made, place = environs.again(environ, url, known=known)

    def respond() -> HttpResponseBase:
        try:
            response = _respond(
                WSGIHandler, lambda: WSGIRequest(made), get_script_name(made), environ=made
            )
            # The response is closed where it is sent from: it may be a file.
            signals.request_finished.send(sender=WSGIHandler)
            return response
        finally:
            disconnect()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(respond).result(), place


def _respond(
    handler: type[BaseHandler], make: Callable[[], HttpRequest], prefix: str, **told: Any
) -> HttpResponseBase:
    """As Django's own handlers do it."""
    set_script_prefix(prefix)
    _keep_connections()
    signals.request_started.send(sender=handler, **told)
    response = _handler(tuple(settings.MIDDLEWARE)).get_response(make())
    response._handler_class = handler  # type: ignore[attr-defined]  # noqa: SLF001
    return response


@lru_cache(maxsize=1)
def _handler(middleware: tuple[str, ...]) -> BaseHandler:
    """One for each list of middleware: tests change it."""
    handler = BaseHandler()
    handler.load_middleware()
    return handler


def _keep_connections() -> None:
    """Where each request has a connection of its own, those of this thread outlive it.

    Django ends connections upon the signals of a request: now only those that cannot be used.
    """
    for connection in connections.all(initialized_only=True):
        if connection.settings_dict["CONN_MAX_AGE"] == 0:
            connection.close_at = None


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
