"""A small HTTP proxy in a process of its own. It knows names that nobody else knows.

    python -m tests.contrib.webhooks.proxy JOURNAL

It prints its port, and writes each request line and the credentials into the journal. Every name
under hooks.example is this machine, and it refuses all other hosts by 403. It never answers for
slow.example.
"""

import json
import select
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

KNOWN = "hooks.example"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    journal: Path

    def do_CONNECT(self) -> None:
        peer = self._connect(f"//{self.path}")
        if peer is not None:
            self.send_response(200)
            self.end_headers()
            _join(self.connection, peer)
        self.close_connection = True

    def do_POST(self) -> None:
        peer = self._connect(self.path)
        if peer is not None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            head = [f"POST {parts.path} HTTP/1.1"]
            head += [f"{key}: {value}" for key, value in self.headers.items()]
            wanted = [line for line in head if not line.startswith("Proxy-")]
            peer.sendall("\r\n".join([*wanted, "", ""]).encode() + body)
            _join(self.connection, peer)
        self.close_connection = True

    def _connect(self, url: str) -> socket.socket | None:
        """A connection to the host; None after a refusal."""
        line = {"line": self.requestline, "user": self.headers.get("Proxy-Authorization")}
        with self.journal.open("a") as file:
            file.write(json.dumps(line) + "\n")
        parts = urlsplit(url)
        if parts.hostname == "slow.example":
            time.sleep(60)
        if parts.hostname == KNOWN:
            return socket.create_connection(("127.0.0.1", parts.port or 80))
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def log_message(self, *_args: Any) -> None:
        pass


def _join(one: socket.socket, other: socket.socket) -> None:
    """Pass bytes on until one of the two hangs up."""
    peers = {one: other, other: one}
    while True:
        readable, _, _ = select.select(list(peers), [], [])
        for sender in readable:
            data = sender.recv(65536)
            if not data:
                return
            peers[sender].sendall(data)


if __name__ == "__main__":
    Handler.journal = Path(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever(0.05)
