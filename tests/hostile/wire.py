"""Sends HTTP byte by byte, also malformed requests, and reads the answers."""

import re
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from demo_project.processes import Process

#: A field that must never come into the headers of an answer.
INJECTED = b"X-Injected: 1"
AUTHORIZATION = b"Authorization: Token demo"
#: An answer counts as complete after so long without a byte.
SILENCE_SECONDS = 2.0
#: The longest wait for an answer after which the server closes the connection. In seconds.
PATIENCE = 30.0

#: Statuses by which these servers refuse a request before Django gets it: wrong syntax, no Host, a
#: target or field that is too long, an unknown coding or version.
OWN_REFUSALS = frozenset({400, 405, 408, 413, 414, 417, 426, 431, 501, 505})

HEAD = re.compile(rb"HTTP/1\.[01] (\d{3})[^\r\n]*\r\n(.*?)\r\n\r\n", re.DOTALL)
FAILURE = re.compile(
    r"Traceback|Internal Server Error|Exception in ASGI|Error handling request|WORKER TIMEOUT"
    r"|was sent SIG|ERROR "
)
#: Log lines of requests that Django refuses with 400 and logs as errors, some with a traceback: a
#: Host that is not allowed, and a redirect of APPEND_SLASH to more than 16,384 characters.
REFUSED_BY_DJANGO = re.compile(
    r"^\S+ \S+ ERROR django\.security\.Disallowed(?:Host|Redirect) .*?(?=^\d{4}-|^INFO|^\[|\Z)",
    re.MULTILINE | re.DOTALL,
)


def request(
    method: bytes = b"GET",
    target: bytes = b"/api/operations/",
    *fields: bytes,
    body: bytes = b"",
    host: bytes | None = b"127.0.0.1",
    version: bytes = b"HTTP/1.1",
    close: bool = True,
) -> bytes:
    """A request of the demo user. With `close` the server has to close the connection after it."""
    lines = [b" ".join((method, target, version))]
    lines += [b"Host: " + host] if host is not None else []
    lines += [AUTHORIZATION, *fields, *([b"Connection: close"] if close else [])]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def post(body: bytes, *fields: bytes, target: bytes = b"/api/sleeps/", close: bool = True) -> bytes:
    """A POST with a JSON `body`, whose length only `fields` may tell."""
    kind = b"Content-Type: application/json"
    return request(b"POST", target, kind, *fields, body=body, close=close)


@dataclass
class Server:
    """A real server of the demo, and its log."""

    name: str
    port: int
    process: Process
    seen: int = field(default=0)

    @property
    def log(self) -> Path:
        return self.process.log

    @contextmanager
    def connection(self, patience: float = PATIENCE) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=patience) as opened:
            yield opened

    def ask(self, *parts: bytes) -> list[int]:
        """The statuses of the answers; each request must have one."""
        answer = self.say(*parts, patience=PATIENCE)
        assert_harmless(answer)
        return statuses(answer)

    def say(self, *parts: bytes, ends: bool = False, patience: float = SILENCE_SECONDS) -> bytes:
        """All bytes of the answers to `parts`; with `ends` we then close our half of it."""
        with self.connection(patience) as opened:
            # A server may close the connection while we still send.
            with suppress(OSError):
                for part in parts:
                    opened.sendall(part)
                if ends:
                    opened.shutdown(socket.SHUT_WR)
            return read(opened)

    def leave(self, *parts: bytes, after: int = 0, stay: float = 0.1) -> None:
        """Send `parts`, read `after` bytes, wait `stay` seconds and reset the connection."""
        with self.connection() as opened:
            with suppress(OSError):
                for part in parts:
                    opened.sendall(part)
                if after:
                    opened.recv(after)
            time.sleep(stay)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def new_log(self) -> str:
        """The lines logged since the last call."""
        with self.log.open(errors="replace") as log:
            log.seek(self.seen)
            text = log.read()
            self.seen = log.tell()
        return text

    def assert_well(self) -> None:
        """It answers, its processes are the same, and it has logged no error of ours."""
        assert self.ask(request()) == [200]
        self.process.check()
        log = REFUSED_BY_DJANGO.sub("", self.new_log())
        failure = FAILURE.search(log)
        assert failure is None, log[max(0, failure.start() - 500) :][:3_000]


def read(opened: socket.socket) -> bytes:
    answer = bytearray()
    with suppress(OSError):
        while received := opened.recv(65_536):
            answer += received
    return bytes(answer)


def heads(answer: bytes) -> list[tuple[int, bytes]]:
    """Status and header fields of each answer, interim answers included."""
    return [(int(status), fields) for status, fields in HEAD.findall(answer)]


def statuses(answer: bytes) -> list[int]:
    return [status for status, _fields in heads(answer)]


def assert_harmless(answer: bytes, sent: object = "") -> None:
    """Each answer is a refusal or an answer of ours, without text of the request in its headers.

    The only exception is Django's redirect that appends a slash to the path, on the same host.
    """
    for status, fields in heads(answer):
        assert status < 500 or status in OWN_REFUSALS, (status, sent, answer[:500])
        for line in fields.split(b"\r\n"):
            assert not set(line) & set(b"\r\n\x00"), (sent, fields)
            name, _, value = line.lower().partition(b":")
            assert name != b"x-injected", (sent, fields)
            if status == 301 and name == b"location":
                assert re.match(rb" (http://127\.0\.0\.1)?/(?!/)", value), (sent, fields)
            else:
                assert b"injected" not in value, (sent, fields)
                assert b"evil.example" not in value, (sent, fields)
