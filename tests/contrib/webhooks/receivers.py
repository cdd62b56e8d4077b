"""A receiver of webhooks: a real HTTP server whose answers a test chooses."""

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook


class Receiver:
    """Keeps the requests that it got, and answers each as `answer` says."""

    def __init__(self, host: str, port: int) -> None:
        self.url = f"http://{host}:{port}/hook"
        self.requests: list[tuple[dict[str, str], str]] = []
        #: When each request came, by `time.time()`.
        self.times: list[float] = []
        self.answer: Callable[[BaseHTTPRequestHandler], None] = answering(204)

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.requests]

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.requests]

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in self.messages]

    def verify(self, secret: str) -> None:
        """Verify each request as a stranger would. Raises WebhookVerificationError."""
        for headers, body in self.requests:
            Webhook(secret).verify(body, headers)


def answering(
    status: int, body: bytes = b"", **headers: str
) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def hanging(seconds: float) -> Callable[[BaseHTTPRequestHandler], None]:
    return lambda _handler: time.sleep(seconds)


def dripping(pause: float) -> Callable[[BaseHTTPRequestHandler], None]:
    """One byte after the other, in lines that never end."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while True:
            handler.wfile.write(b"a")
            handler.wfile.flush()
            time.sleep(pause)

    return answer


def dying(handler: BaseHTTPRequestHandler) -> None:
    """In the middle of the body."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
    handler.wfile.flush()
    handler.connection.close()


@contextmanager
def receiving(host: str = "127.0.0.1", *, tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            receiver.times.append(time.time())
            receiver.requests.append(({k.lower(): v for k, v in self.headers.items()}, body))
            self.close_connection = True
            receiver.answer(self)

        def do_GET(self) -> None:
            receiver.requests.append(({"method": "GET"}, "{}"))
            answering(200)(self)

        def log_message(self, *_args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        # Twenty messages come at once.
        request_queue_size = 128

        def handle_error(self, *_args: Any) -> None:
            """Clients that hang up are what these tests are about."""

    server = Server((host, 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    receiver = Receiver(host, server.server_port)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
