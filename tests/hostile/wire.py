"""HTTP by the byte: what no library of good will sends, and what comes back."""

import re
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from demo_project.processes import Process

#: What is tried to get into a header of an answer.
INJECTED = b"X-Injected: 1"
AUTHORIZATION = b"Authorization: Token demo"
#: Seconds without a byte after which an answer is taken to be all there is.
SILENCE = 2.0
#: The same where an answer is due, after which the server closes.
PATIENCE = 30.0

#: What these servers answer by themselves, before Django hears of the request: bad syntax, a
#: missing Host, too long a target or field, a coding or a version they do not know.
OWN_REFUSALS = frozenset({400, 405, 408, 413, 414, 417, 426, 431, 501, 505})

HEAD = re.compile(rb"HTTP/1\.[01] (\d{3})[^\r\n]*\r\n(.*?)\r\n\r\n", re.DOTALL)
FAILURE = re.compile(
    r"Traceback|Internal Server Error|Exception in ASGI|Error handling request|WORKER TIMEOUT"
    r"|was sent SIG|ERROR "
)
#: What Django refuses by itself with a 400 and logs as an error, some with a traceback: a Host that
#: is not allowed, and the redirect of APPEND_SLASH to more than 16,384 characters.
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
    """A request of the demo user's, after which the server is to close the connection."""
    lines = [b" ".join((method, target, version))]
    lines += [b"Host: " + host] if host is not None else []
    lines += [AUTHORIZATION, *fields, *([b"Connection: close"] if close else [])]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def post(body: bytes, *fields: bytes, target: bytes = b"/api/sleeps/", close: bool = True) -> bytes:
    """A POST whose `fields` say, or do not say, how long its JSON `body` is."""
    kind = b"Content-Type: application/json"
    return request(b"POST", target, kind, *fields, body=body, close=close)


@dataclass
class Server:
    """A real server of the demo's, and what it has logged."""

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
        """The statuses of the answers to requests that have a right to one."""
        answer = self.say(*parts, patience=PATIENCE)
        assert_harmless(answer)
        return statuses(answer)

    def say(self, *parts: bytes, ends: bool = False, patience: float = SILENCE) -> bytes:
        """All that the server answers to `parts`; with `ends` no more comes from us."""
        with self.connection(patience) as opened:
            # A server that has heard enough closes while we speak, or stops listening.
            with suppress(OSError):
                for part in parts:
                    opened.sendall(part)
                if ends:
                    opened.shutdown(socket.SHUT_WR)
            return read(opened)

    def leave(self, *parts: bytes, after: int = 0, stay: float = 0.1) -> None:
        """Say `parts`, read `after` bytes, stay so many seconds and reset the connection."""
        with self.connection() as opened:
            with suppress(OSError):
                for part in parts:
                    opened.sendall(part)
                if after:
                    opened.recv(after)
            time.sleep(stay)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def news(self) -> str:
        """What it has logged since it was last asked."""
        with self.log.open(errors="replace") as log:
            log.seek(self.seen)
            told = log.read()
            self.seen = log.tell()
        return told

    def assert_well(self) -> None:
        """It answers, with the processes it had, and has logged nothing that is a defect."""
        assert self.ask(request()) == [200]
        self.process.check()
        told = REFUSED_BY_DJANGO.sub("", self.news())
        found = FAILURE.search(told)
        assert found is None, told[max(0, found.start() - 500) :][:3_000]


def read(opened: socket.socket) -> bytes:
    answer = bytearray()
    with suppress(OSError):
        while received := opened.recv(65_536):
            answer += received
    return bytes(answer)


def heads(answer: bytes) -> list[tuple[int, bytes]]:
    """Status and header fields of each answer in it, the interim ones as well."""
    return [(int(status), fields) for status, fields in HEAD.findall(answer)]


def statuses(answer: bytes) -> list[int]:
    return [status for status, _fields in heads(answer)]


def assert_harmless(answer: bytes, sent: object = "") -> None:
    """Refused or answered; nothing that came with the request is in a header.

    But for the redirect by which Django appends a slash: to the same path on the same host.
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
