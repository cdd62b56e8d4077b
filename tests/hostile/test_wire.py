"""Malformed requests to real servers are refused or answered, and so is the next request.

`wire.OWN_REFUSALS` has the statuses of the servers themselves. A field named `SCRIPT_NAME` is not
tried: gunicorn trusts it from 127.0.0.1 as if a proxy sent it, and answers a wrong value with 500.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.hostile import wire
from tests.hostile.oddities import (
    BODIES,
    CHUNKED,
    CHUNKINGS,
    FIELDS,
    HEADS,
    LENGTH,
    METHODS,
    PART,
    SLEEP,
    TARGETS,
    VALUES,
    multipart,
)
from tests.hostile.wire import Server, assert_harmless, post, request, statuses
from tests.stacks.stack import Stack, prepared

SERVERS = ["gunicorn", "uvicorn"]
ROWS = 400_000
RUN = "from async_reply.testing import run_operations; run_operations()"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Both servers as in production: with DEBUG, error pages show tracebacks and the request."""
    with prepared(
        tmp_path_factory.mktemp("wire"),
        database="sqlite",
        broker="files",
        settings="demo_project.settings",
        lease=20,
    ) as running:
        running.end(running.processes[0])
        running.environment |= {"DEBUG": "0", "SECRET_KEY": "only for these tests" * 3}
        running.start_web()
        yield running
        for process in list(running.processes):
            # Under WSGI a wait goes on although its client has left.
            running.end(process)


@pytest.fixture(scope="module")
def servers(stack: Stack) -> dict[str, Server]:
    port = stack.start_asgi()
    web, asgi = stack.processes
    return {
        "gunicorn": Server("gunicorn", stack.port, web),
        "uvicorn": Server("uvicorn", port, asgi),
    }


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, servers: dict[str, Server]) -> Iterator[Server]:
    """A server; after the test it must be well."""
    chosen = servers[request.param]
    yield chosen
    chosen.assert_well()


@pytest.fixture(scope="module")
def urls(stack: Stack) -> dict[str, bytes]:
    """Paths of three operations: succeeded with a value, succeeded with a large file, pending."""

    def submit(client: httpx.Client, url: str, body: Any) -> bytes:
        accepted = client.post(url, json=body)
        assert accepted.status_code == 202
        return httpx.URL(accepted.headers["Location"]).raw_path

    with stack.client() as client:
        done = {
            "value": submit(client, "/api/sleeps/", {"seconds": 0}),
            "file": submit(client, "/api/exports/", {"rows": ROWS}),
        }
        stack.manage("shell", "-c", RUN)
        return {**done, "pending": submit(client, "/api/sleeps/", {"seconds": 0})}


@pytest.mark.parametrize("name", BODIES)
def test_body__with_a_wrong_length_is_harmless(server: Server, name: str) -> None:
    assert_harmless(server.say(BODIES[name], ends=True), name)


@pytest.mark.parametrize("name", CHUNKINGS)
def test_body__with_malformed_chunks_is_harmless(server: Server, name: str) -> None:
    answer = server.say(post(CHUNKINGS[name], CHUNKED), ends=True)
    assert_harmless(answer, name)
    if name in {"good", "of one byte"}:
        # uvicorn ends when the client closes its half of the connection, gunicorn reads on.
        assert server.ask(post(CHUNKINGS[name], CHUNKED)) == [411]


def test_body__in_chunks_is_never_taken_for_an_empty_one(server: Server) -> None:
    answer = server.say(post(CHUNKINGS["good"], CHUNKED), patience=wire.PATIENCE)
    assert b"application/problem+json" in answer
    assert b"send it with a Content-Length" in answer
    # Here a body of no chunks is what it says. A proxy may send this for a request without a body.
    assert server.ask(post(b"0\r\n\r\n", CHUNKED)) == [202]


@pytest.mark.parametrize("name", FIELDS, ids=bytes.decode)
def test_field__malformed_is_harmless(server: Server, urls: dict[str, bytes], name: bytes) -> None:
    targets = [
        b"/api/operations/",
        urls["value"],
        urls["value"] + b"events/",
        urls["value"] + b"log/",
        urls["value"] + b"result/",
        urls["pending"] + b"monitor/",
        urls["file"] + b"result/",
    ]
    for value in VALUES.values():
        field = name + b": " + value
        for target in targets:
            method = b"HEAD" if target.startswith(urls["file"]) else b"GET"
            assert_harmless(server.say(request(method, target, field)), field[:80])
        body = post(SLEEP, LENGTH, field)
        assert_harmless(server.say(body), field[:80])


@pytest.mark.parametrize("name", HEADS)
def test_head__malformed_is_harmless(server: Server, name: str) -> None:
    assert_harmless(server.say(HEADS[name]), name)


def test_head__http_1_0_without_a_host_is_answered(server: Server) -> None:
    assert server.ask(HEADS["HTTP/1.0 without a host"]) in ([200], [400])


@pytest.mark.parametrize("method", METHODS, ids=lambda method: repr(method[:10]))
def test_method__unknown_is_harmless(server: Server, urls: dict[str, bytes], method: bytes) -> None:
    for target in (b"/api/operations/", urls["value"], b"/api/sleeps/", b"127.0.0.1:80", b"*"):
        answer = server.say(request(method, target, LENGTH, body=SLEEP))
        assert_harmless(answer, (method[:80], target))
        # An answer to TRACE would show credentials to a script (RFC 9110, section 9.3.8).
        assert wire.AUTHORIZATION not in answer


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: repr(target[:50]))
def test_target__malformed_is_harmless(server: Server, target: bytes) -> None:
    for method in (b"GET", b"HEAD", b"OPTIONS", b"POST", b"DELETE"):
        answer = server.say(request(method, target, b"Content-Length: 0"))
        assert_harmless(answer, (method, target[:80]))
        assert b"root:x:" not in answer


def test_expect__body_is_sent_after_100_continue(server: Server) -> None:
    head = post(b"", LENGTH, b"Expect: 100-continue")
    with server.connection() as opened:
        opened.sendall(head)
        assert opened.recv(1_000).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        opened.sendall(SLEEP)
        assert statuses(wire.read(opened)) == [202]


def test_expect__is_refused_without_its_body(server: Server) -> None:
    head = request(b"POST", b"/api/nowhere/", LENGTH, b"Expect: 100-continue")
    assert_harmless(server.say(head, ends=True))


def test_pipeline__answers_come_in_order(server: Server, urls: dict[str, bytes]) -> None:
    requests = [
        request(close=False),
        post(SLEEP, LENGTH, close=False),
        request(b"GET", urls["value"], close=False),
        request(b"GET", b"/api/nowhere/", close=False),
        request(b"GET", urls["value"] + b"result/"),
    ]
    assert server.ask(b"".join(requests)) == [200, 202, 302, 404, 200]


def test_pipeline__of_a_hundred_requests(server: Server) -> None:
    assert server.ask(request(close=False) * 99 + request()) == [200] * 100


@pytest.mark.parametrize(
    "message",
    [
        post(SLEEP[:5], LENGTH),
        post(b"e\r\n" + SLEEP[:5], CHUNKED),
        multipart(b"Content-Length: 5000000", body=PART + b"1;2\r\n" * 500_000),
        multipart(b"Content-Length: 5000", body=PART[:10]),
        request()[:-4],
    ],
    ids=["json", "chunk", "large file", "half a part", "half a head"],
)
def test_client__leaves_during_an_upload(server: Server, message: bytes) -> None:
    server.leave(message)


@pytest.mark.parametrize("preference", [b"wait=2", b"wait=30"])
def test_client__leaves_during_a_wait(
    server: Server, urls: dict[str, bytes], preference: bytes
) -> None:
    for target in (urls["pending"], urls["pending"] + b"monitor/"):
        server.leave(request(b"GET", target, b"Prefer: " + preference), stay=0.3)
    server.leave(post(SLEEP, LENGTH, b"Prefer: " + preference), stay=0.3)


def test_client__leaves_during_a_stream(server: Server, urls: dict[str, bytes]) -> None:
    for after in (0, 10, 1_000):
        server.leave(request(b"GET", urls["pending"] + b"events/"), after=after, stay=0.2)


def test_client__leaves_during_a_download(server: Server, urls: dict[str, bytes]) -> None:
    target = urls["file"] + b"result/"
    whole = httpx.get(
        f"http://127.0.0.1:{server.port}{target.decode()}",
        headers={"Authorization": "Token demo"},
    )
    assert len(whole.content) > 10_000_000
    for after in (0, 1, 100, 60_000):
        server.leave(request(b"GET", target), after=after)
        server.leave(request(b"GET", target, b"Range: bytes=100-"), after=after)


def test_body__of_a_good_request_is_accepted(server: Server) -> None:
    answer = server.say(post(SLEEP, LENGTH), patience=wire.PATIENCE)
    assert statuses(answer) == [202]
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == "pending"
