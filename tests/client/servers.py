"""Servers that others might have written, on real sockets: a plain one, and one like Azure's.

Neither is Django. Each answers three polls of an operation as unfinished.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

POLLS = 3


class Handler(BaseHTTPRequestHandler):
    """`polls` counts the polls, `requests` has what clients sent: method, path and headers."""

    polls: ClassVar[int]
    requests: ClassVar[list[tuple[str, str, dict[str, str]]]]
    body: dict[str, Any]

    def do_GET(self) -> None:
        self.note()
        self.get()

    def do_POST(self) -> None:
        self.note()
        length = int(self.headers.get("Content-Length") or 0)
        self.body = json.loads(self.rfile.read(length) or b"{}")
        self.post()

    do_PUT = do_POST  # noqa: N815 http.server calls it

    def note(self) -> None:
        self.requests.append((self.command, self.path, dict(self.headers)))

    def poll(self) -> int:
        """The polls so far, with this one."""
        type(self).polls += 1
        return self.polls

    def answer(self, status: int, body: Any = None, **fields: str) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        if body is not None:
            self.send_header("Content-Type", fields.get("Content_Type", "application/json"))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing on standard error."""

    def get(self) -> None:
        raise NotImplementedError

    def post(self) -> None:
        raise NotImplementedError


class Plain(Handler):
    """The pattern as it is published: 202 and Location, then 200 until a 302 to the result."""

    def post(self) -> None:
        self.answer(202, Location="/status/7", Retry_After="0")

    def get(self) -> None:
        if self.path == "/results/7":
            self.answer(200, {"rows": 3})
        elif self.poll() < POLLS:
            self.answer(200, {"status": "In progress", "percentComplete": 25 * self.polls})
        else:
            self.answer(302, Location="/results/7")


class PlainThatFails(Plain):
    def get(self) -> None:
        problem = {"title": "Bad rows", "status": 422, "detail": "Row 7 has no date."}
        if self.path == "/results/7":
            self.answer(422, problem, Content_Type="application/problem+json")
        else:
            super().get()


class Pending(Handler):
    """Polls of the result itself: 202 until it is there."""

    def post(self) -> None:
        self.answer(202, Location="/results/7", Retry_After="0")

    def get(self) -> None:
        if self.poll() < POLLS:
            self.answer(202, Retry_After="0")
        else:
            self.answer(200, {"status": "failed", "is": "the result, and no status document"})


class Azure(Handler):
    """Operation-Location with a status document, and the result at Location (or at its own URL)."""

    ending: ClassVar[dict[str, Any]] = {"status": "Succeeded"}

    def post(self) -> None:
        url = f"http://{self.headers['Host']}"
        fields = {"Operation_Location": f"{url}/operations/7", "Retry_After": "0"}
        if self.command == "PUT":
            self.answer(201, {"name": "seven"}, **fields)
        else:
            self.answer(202, Location=f"{url}/results/7", **fields)

    def get(self) -> None:
        if self.path != "/operations/7":
            self.answer(200, {"path": self.path})
        elif self.poll() < POLLS:
            self.answer(200, {"status": "Running"}, Retry_After="0")
        else:
            self.answer(200, self.ending)


class Asking(Handler):
    """A job that asks until it has an answer, which is its result. Later, somebody else answers."""

    given: ClassVar[Any] = None

    def post(self) -> None:
        if self.path == "/questions/7":
            type(self).given = self.body
            self.answer(200, {})
        else:
            self.answer(202, Location="/status/7", Retry_After="0")

    def get(self) -> None:
        asked = {"name": "approve", "link": "/questions/7", "until": "2030-01-01T00:00:00Z"}
        if self.path == "/results/7":
            self.answer(200, {"answer": self.given})
        elif self.given is None and self.poll() < POLLS:
            self.answer(200, {"status": "pending", "input_required": asked}, Retry_After="0")
        else:
            self.answer(302, Location="/results/7")


class AzureThatFails(Azure):
    ending = {"status": "Failed", "error": {"code": "NoSpace", "message": "The disk is full."}}


class AzureThatNamesTheResource(Azure):
    ending = {"status": "Succeeded", "resourceLocation": "/things/7"}


class Odd(Handler):
    """A 202 with `accepted`, and then the same `answered` to each poll."""

    accepted: ClassVar[tuple[int, dict[str, str]]] = (202, {"Location": "/status/7"})
    answered: ClassVar[tuple[int, Any, dict[str, str]]] = (200, None, {})

    def post(self) -> None:
        status, fields = self.accepted
        self.answer(status, None, **fields)

    def get(self) -> None:
        status, body, fields = self.answered
        self.poll()
        self.answer(status, body, **fields)


@contextmanager
def serving(handler: type[Handler]) -> Iterator[tuple[str, type[Handler]]]:
    """The URL of a server, and its handler with what it has seen."""
    seen: Any = type(handler.__name__, (handler,), {"polls": 0, "requests": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), seen)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
