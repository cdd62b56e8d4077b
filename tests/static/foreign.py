"""Servers that others might have written: plain 202 and 302, Azure's style, and worse ones."""

import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import async_reply

CLIENT = Path(async_reply.__file__).parent / "static"
RESULT = {"status": "excellent", "number": 7}


class Foreign(BaseHTTPRequestHandler):
    """Each path is a server of its own, and finishes at the third poll."""

    polls: ClassVar[dict[str, int]] = {}

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        style = self.path.strip("/")
        if style == "unsure" and self.count() < 3:
            return self.answer(503, {"title": "Busy"}, {"Retry-After": "1"})
        if style == "azure":
            names = {"Location": "/result/azure", "Operation-Location": "/monitor/azure"}
            return self.answer(202, {"status": "NotStarted"}, names)
        return self.answer(202, None, {"Location": f"/status/{style}", "Retry-After": "1"})

    def do_GET(self) -> None:
        kind, _, style = self.path.strip("/").partition("/")
        if kind == "static":
            content_type = {"Content-Type": "text/javascript"}
            return self.answer(200, (CLIENT / style).read_bytes(), content_type)
        if kind == "result":
            return self.answer(200, RESULT)
        polls = self.count()
        if kind == "log":
            return self.log(polls)
        if style == "azure":
            return self.azure(polls)
        if style == "broken" and polls in (1, 2):
            return self.answer(502, b"<h1>Bad Gateway</h1>", {"Content-Type": "text/html"})
        if style == "reset" and polls in (1, 2):
            self.connection.close()
            return None
        if kind == "events":
            self.answer(200, b"", {"Content-Type": "text/event-stream"})
            return None
        if style == "streams" and polls < 5:
            document = {"id": "1", "status": "running", "links": {"events": "/events/streams"}}
            return self.answer(200, document, {"Retry-After": "1"})
        if polls < 3:
            return self.answer(202, None, {"Retry-After": "1"})
        return self.answer(302, None, {"Location": f"/result/{style}"})

    def log(self, polls: int) -> None:
        """A stream that breaks inside of an event, a server that is away, and the rest.

        With `sig=old` the signed link expires after the first answer.
        """
        last = self.headers["Last-Event-ID"]
        if polls > 1 and "sig=old" in self.path:
            return self.answer(404, {"title": "Not found"})
        if polls == 2:
            return self.answer(503, {"title": "Busy"}, {"Retry-After": "1"})
        events = [("row", 1), ("row", 2), ("reset", 3), ("row", 4), ("truncated", 7)]
        rest = [(name, number) for name, number in events if number > int(last or 0)]
        outcome = {"status": "failed", "links": {}}
        data: list[tuple[str, int, Any]] = [(*event, {"after": 1}) for event in rest]
        data += [("failed", 8, outcome)] if polls > 2 else []
        lines = [f"event: {n}\nid: {i}\ndata: {json.dumps(d)}\n\n" for n, i, d in data]
        content = "".join(lines) if polls > 2 else lines[0] + lines[1][:-1]
        return self.answer(200, content.encode(), {"Content-Type": "text/event-stream"})

    def azure(self, polls: int) -> None:
        status = {1: "Running", 2: "Verifying"}.get(polls, "Succeeded")
        headers = {} if polls > 2 else {"Retry-After": "1"}
        return self.answer(200, {"status": status, "id": "1"}, headers)

    def count(self) -> int:
        polls = self.polls[self.path] = self.polls.get(self.path, 0) + 1
        return polls

    def answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode() if body else b""
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Writes no log."""
