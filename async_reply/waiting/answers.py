"""Asks Django again for a client that has waited, with a follow-up request.

The project's middleware and views see the client's credentials anew, as in its first request. The
follow-up request has a thread and a context that hold nothing of any other request.
"""

import asyncio
from collections.abc import Hashable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache, partial
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
from django.utils.module_loading import import_string

from async_reply.protocol import headers
from async_reply.waiting import environs
from async_reply.waiting.callers import Caller
from async_reply.waiting.executor import close_connections, executor
from async_reply.waiting.scopes import Message, Scope, Send, identity
from async_reply.waiting.ticker import SharedAnswers
from async_reply.waiting.tickets import HANDOVER_KEY, Handover, Seen, Ticket, Wait

Field = tuple[bytes, bytes]


class Answer:
    """An answer of Django that has not been sent to the client."""

    def __init__(
        self,
        code: int = 0,
        fields: Iterable[Field] = (),
        body: bytes = b"",
        ticket: Ticket | None = None,
    ) -> None:
        self.code = code
        self.fields = list(fields)
        #: The ticket that the view has left.
        self.ticket = ticket
        self._parts = [body]

    @property
    def body(self) -> bytes:
        return b"".join(self._parts)

    def take(self, message: Message) -> None:
        """Keep an ASGI message of the answer."""
        if message["type"] == "http.response.start":
            self.code = message["status"]
            self.fields = list(message["headers"])
        elif message["type"] == "http.response.body":
            self._parts.append(message.get("body", b""))

    @cached_property
    def sets_cookie(self) -> bool:
        """Whether it belongs to one client alone. Read once it is complete."""
        return bool(self.field(b"set-cookie"))

    def field(self, name: bytes) -> str:
        values = [value for key, value in self.fields if key.lower() == name]
        return b", ".join(values).decode("latin-1")

    def having(self, fields: Mapping[str, str]) -> "Answer":
        """The same answer with these values of `fields`."""
        return Answer(self.code, replaced(self.fields, fields, fields), self.body, self.ticket)

    def applied(self, ticket: Wait) -> "Answer":
        """The same answer, with a Preference-Applied field if the client preferred the wait."""
        if not ticket.is_preferred:
            return self
        name = headers.PREFERENCE_APPLIED
        applied = headers.applied(self.field(name.lower().encode("ascii")), int(ticket.seconds))
        return self.having({name: applied})

    async def send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.code, "headers": self.fields})
        await send({"type": "http.response.body", "body": self.body})


def replaced(fields: Iterable[Field], names: Iterable[str], new: Mapping[str, str]) -> list[Field]:
    """`fields` without those in `names`, and with the `new` ones."""
    left_out = {name.lower().encode("ascii") for name in names}
    kept = [field for field in fields if field[0].lower() not in left_out]
    return [*kept, *((name.encode("ascii"), new[name].encode("latin-1")) for name in new)]


class Question:
    """A follow-up request, and the clients that wait for its answer."""

    def __init__(self, scope: Scope, caller: Caller) -> None:
        self.scope = scope  # kept, since its identity is valid only as long
        self._clients = 0
        self._is_taken = False
        self._waiting: list[asyncio.Future[None]] = []
        self._arrival = asyncio.wrap_future(executor.submit(caller, partial(answer_to, scope)))
        self._arrival.add_done_callback(self._wake)

    @property
    def is_canceled(self) -> bool:
        return self._arrival.cancelled()

    def join(self, woken: asyncio.Future[None]) -> None:
        """A client waits for the answer: `woken` gets a result when it has come. Then it leaves.

        A future is cheaper than asyncio.shield for each of a thousand clients.
        """
        self._clients += 1
        if self._arrival.done():
            woken.set_result(None)
        else:
            self._waiting.append(woken)

    def leave(self) -> None:
        """A client that has joined does not wait any more. The last one cancels the request."""
        self._clients -= 1
        if not self._clients:
            self._arrival.cancel()

    def answer(self) -> Answer | None:
        """The answer that has come, or its error. Only one client gets an answer with a cookie."""
        answer: Answer = self._arrival.result()
        if answer.sets_cookie and self._is_taken:
            return None
        self._is_taken = True
        return answer

    def _wake(self, arrival: "asyncio.Future[Answer]") -> None:
        if not arrival.cancelled():
            arrival.exception()  # read here, since there may be no client left to read it
        for woken in self._waiting:
            if not woken.done():
                woken.set_result(None)


def question(
    scope: Scope, caller: Caller, shared: SharedAnswers, *, key: Hashable = None
) -> Question:
    """The question to Django that `scope` is, a request without a body.

    Clients with the same request about the same change share a question. If all of them have left
    before the caller's turn, Django is not asked. `key` is the identity of the scope, where it is
    known.
    """
    key = (id(asyncio.get_running_loop()), identity(scope) if key is None else key)
    asked: Question | None = shared.get(key)
    if asked is None or asked.is_canceled:
        asked = shared[key] = Question(scope, caller)
    return asked


async def ask(scope: Scope, caller: Caller, shared: SharedAnswers) -> Answer:
    """Django's answer to the question. What the project's code raises is raised here."""
    asked = question(scope, caller, shared)
    woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asked.join(woken)
    try:
        await woken
        answer = asked.answer()
    finally:
        asked.leave()
    return await ask(scope, caller, {}) if answer is None else answer


def answer_to(scope: Scope) -> Answer:
    """Django's answer to an ASGI request, from a thread that keeps its connections.

    Asks twice if the answer is an error and the thread's connection had been lost before.
    """
    answer, is_broken = _answer_to(scope)
    return _answer_to(scope)[0] if is_broken else answer


def _answer_to(scope: Scope) -> tuple[Answer, bool]:
    """The answer, and whether it is an error over a connection that was lost before."""
    try:
        request = ASGIRequest(scope, BytesIO())
    except UnicodeDecodeError:  # in the query
        return Answer(400), False
    response = _respond(ASGIHandler, request, get_script_prefix(scope), scope=scope)
    is_broken = response.status_code >= 500 and _close_broken_connections()
    chunks: Any = response
    fields = [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
    cookies = (cookie.output(header="").strip() for cookie in response.cookies.values())
    fields += [(headers.SET_COOKIE.encode(), cookie.encode("ascii")) for cookie in cookies]
    answer = Answer(response.status_code, fields, b"".join(chunks), scope[HANDOVER_KEY].ticket)
    _keep_connections()
    response.close()  # this sends the signal that the request has finished
    return answer, is_broken


def ask_in_thread(
    environ: dict[str, Any], url: str, *, seen: Seen | None = None
) -> tuple[HttpResponseBase, Handover]:
    """The answer to a GET of `url` by the client of a WSGI `environ`, and the view's Handover.

    A new thread asks, and ends. The thread that waits is still inside the project's middleware, and
    must keep what the middleware has put into it.
    """
    new_environ, handover = environs.follow_up(environ, url, seen=seen)

    def respond() -> HttpResponseBase:
        try:
            response = _respond(
                WSGIHandler,
                WSGIRequest(new_environ),
                get_script_name(new_environ),
                environ=new_environ,
            )
            # The response may be a file, and is closed after it is sent.
            signals.request_finished.send(sender=WSGIHandler)
            return response
        finally:
            close_connections()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(respond).result(), handover


def _respond(
    handler: type[BaseHandler], request: HttpRequest, prefix: str, **arguments: Any
) -> HttpResponseBase:
    """Do what Django's own `handler` does; `arguments` are those of the signal request_started."""
    set_script_prefix(prefix)
    _keep_connections()
    signals.request_started.send(sender=handler, **arguments)
    connection: Any
    for connection in connections.all(initialized_only=True):
        # This thread used it a second ago at most. If it is lost, `answer_to` asks again.
        connection.health_check_done = True
    response = _handler(tuple(settings.MIDDLEWARE)).get_response(request)
    response._handler_class = handler  # type: ignore[attr-defined]  # noqa: SLF001
    return response


def is_plain_django(application: Any) -> bool:
    """Whether `answer_to` does the same as the ASGI application: it is Django's handler itself.

    A project's own application around or in place of the handler has its say, and so does
    middleware that runs only in the server's event loop.
    """
    return type(application) is ASGIHandler and _are_sync_capable(tuple(settings.MIDDLEWARE))


@lru_cache(maxsize=1)
def _are_sync_capable(middleware: tuple[str, ...]) -> bool:
    return all(getattr(import_string(path), "sync_capable", True) for path in middleware)


@lru_cache(maxsize=1)
def _handler(middleware: tuple[str, ...]) -> BaseHandler:
    """A handler for this list of middleware, which tests change."""
    handler = BaseHandler()
    handler.load_middleware()
    return handler


def _keep_connections() -> None:
    """Keep this thread's connections even if each request has to have a new one (CONN_MAX_AGE 0).

    Django then closes only unusable connections when a request starts or ends.
    """
    for connection in connections.all(initialized_only=True):
        if connection.settings_dict["CONN_MAX_AGE"] == 0:
            connection.close_at = None


def _close_broken_connections() -> bool:
    """Close this thread's connections that had errors and are unusable; whether there were any."""
    broken = [
        connection
        for connection in connections.all(initialized_only=True)
        if connection.connection is not None
        and connection.errors_occurred
        and not connection.is_usable()
    ]
    for connection in broken:
        connection.close()
    return bool(broken)
