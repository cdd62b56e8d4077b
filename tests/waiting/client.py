"""An HTTP client in the same process, which can leave, and read an answer while it comes."""

import asyncio
import json
from typing import Any
from urllib.parse import unquote, urlsplit

PATIENCE = 30.0


class Exchange:
    """One request to an ASGI application, and the part of the answer that has come."""

    def __init__(self, application: Any, method: str, url: str, body: Any, fields: Any) -> None:
        parts = urlsplit(url)
        sent = b"" if body is None else json.dumps(body).encode()
        headers = {"host": "testserver", **fields}
        if body is not None:
            headers |= {"content-type": "application/json", "content-length": str(len(sent))}
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(parts.path),
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "root_path": "",
            "headers": [(key.lower().encode(), value.encode()) for key, value in headers.items()],
            "client": ("127.0.0.1", 1234),
            "server": ("testserver", 80),
        }
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self._to_app = [{"type": "http.request", "body": sent, "more_body": False}]
        self._gone = asyncio.Event()
        self._news = asyncio.Condition()
        self.task = asyncio.create_task(application(self.scope, self._receive, self._send))

    async def _receive(self) -> Any:
        if self._to_app:
            return self._to_app.pop()
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        async with self._news:
            if message["type"] == "http.response.start":
                assert not self.status
                self.status = message["status"]
                self.headers = {
                    key.decode().title(): value.decode() for key, value in message["headers"]
                }
            else:
                self.body += message.get("body", b"")
            self._news.notify_all()

    def leave(self) -> None:
        """Close the connection."""
        self._gone.set()

    async def done(self) -> "Exchange":
        """Return once the answer is complete."""
        await asyncio.wait_for(self.task, PATIENCE)
        assert int(self.headers.get("Content-Length", len(self.body))) == len(self.body)
        return self

    async def until(self, text: bytes) -> None:
        """Return once the body contains `text`."""
        async with self._news, asyncio.timeout(PATIENCE):
            await self._news.wait_for(lambda: text in self.body)

    def json(self) -> Any:
        return json.loads(self.body)

    def events(self) -> list[dict[str, str]]:
        """The server-sent events, comments left out."""
        blocks = [
            [line.split(": ", 1) for line in block.splitlines() if not line.startswith(":")]
            for block in self.body.decode().split("\n\n")
        ]
        return [dict(block) for block in blocks if block]


async def until(condition: Any, *, seconds: float = PATIENCE) -> None:
    """Return once `condition` holds; TimeoutError if it does not in time."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
