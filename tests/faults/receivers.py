"""A receiver of webhooks in a process of its own, which misbehaves at first.

    python -m tests.faults.receivers PORT JOURNAL MANNER INNER_PORT

It writes each request into the journal before it answers. Each message gets MISBEHAVIOURS answers
in the given manner, and then a 204. The manner "inner" is the address to which others redirect.
"""

import fcntl
import json
import os
import signal
import socketserver
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

#: Answers to one message before the 204.
MISBEHAVIOURS = 2
#: Longer than a post may take.
HANG_SECONDS = 30


def serve(port: int, journal: Path, manner: str, inner_port: int) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length).decode()
            if len(body) < length:
                # The sender has died.
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            behaves = _write(journal, manner, headers, body)
            self.close_connection = True
            (_succeed if behaves else MANNERS[manner])(self, inner_port)

        def do_GET(self) -> None:
            _write(journal, manner, {"webhook-id": "GET"}, "")
            _answer(self, 200)

        def log_message(self, *_args: Any) -> None:
            pass

    class Server(socketserver.ForkingMixIn, socketserver.TCPServer):
        """Each request has a process, so that the process can die."""

        allow_reuse_address = True
        request_queue_size = 128
        max_children = 200

    with Server(("127.0.0.1", port), Handler) as server:
        server.serve_forever(0.05)


def _write(journal: Path, manner: str, headers: dict[str, str], body: str) -> bool:
    """Append a line. Whether the message was answered often enough to get a 204 now."""
    with journal.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        lines = [json.loads(line) for line in file]
        message = (manner, headers["webhook-id"])
        earlier = sum((line["manner"], line["headers"]["webhook-id"]) == message for line in lines)
        behaves = manner == "well" or earlier >= MISBEHAVIOURS
        line = {"at": time.time(), "manner": manner, "headers": headers, "body": body}
        file.write(json.dumps({**line, "behaves": behaves}) + "\n")
    return behaves


def _answer(handler: BaseHTTPRequestHandler, status: int, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def _succeed(handler: BaseHTTPRequestHandler, _inner: int) -> None:
    _answer(handler, 204)


def _hang(_handler: BaseHTTPRequestHandler, _inner: int) -> None:
    time.sleep(HANG_SECONDS)


def _fail(handler: BaseHTTPRequestHandler, _inner: int) -> None:
    _answer(handler, 500)


def _redirect(handler: BaseHTTPRequestHandler, inner: int) -> None:
    _answer(handler, 302, Location=f"http://127.0.0.1:{inner}/")


def _die(handler: BaseHTTPRequestHandler, _inner: int) -> None:
    """In the middle of the body of a success."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
    handler.wfile.flush()
    os.kill(os.getpid(), signal.SIGKILL)


MANNERS: dict[str, Callable[[BaseHTTPRequestHandler, int], None]] = {
    "well": _succeed,
    "hangs": _hang,
    "fails": _fail,
    "redirects": _redirect,
    "dies": _die,
    "inner": _succeed,
}


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
