"""Requests by the byte to real servers: refused or answered, and the next one is, too.

What the servers refuse by themselves is in `wire.OWN_REFUSALS`. Not tried is `SCRIPT_NAME` as the
name of a field: gunicorn takes it from 127.0.0.1 for a proxy's, and answers a wrong one 500.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.hostile import wire
from tests.hostile.wire import INJECTED, Server, assert_harmless, post, request, statuses
from tests.stacks.stack import Stack, prepared

SERVERS = ["gunicorn", "uvicorn"]
ROWS = 400_000
RUN = "from async_reply.testing import run_operations; run_operations()"

SLEEP = b'{"seconds": 0}'
LENGTH = b"Content-Length: %d" % len(SLEEP)
CHUNKED = b"Transfer-Encoding: chunked"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(SLEEP), SLEEP)
FORM = b"Content-Type: multipart/form-data; boundary=b"
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\na;b\r\n'


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Both servers as in production: DEBUG's own pages show tracebacks and all that came in."""
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
            # Under WSGI a wait goes on though its client has left.
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
    """A server that is well before and after."""
    chosen = servers[request.param]
    chosen.assert_well()
    yield chosen
    chosen.assert_well()


@pytest.fixture(scope="module")
def urls(stack: Stack) -> dict[str, bytes]:
    """Paths of operations: one that has succeeded, one with a large file, one that is pending."""

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


def multipart(*fields: bytes, body: bytes) -> bytes:
    return request(b"POST", b"/api/csv-profiles/", FORM, *fields, body=body)


#: Lengths that lie or are none. The server may wait for bytes that never come: these end.
BODIES: dict[str, bytes] = {
    "truncated": post(SLEEP[:5], b"Content-Length: 1000"),
    "truncated form": multipart(b"Content-Length: 1000", body=PART),
    "nothing of it": post(b"", b"Content-Length: 1000"),
    "longer than told": post(SLEEP + SLEEP, LENGTH),
    "a request after it": post(SLEEP + request(), LENGTH),
    "no length": post(SLEEP),
    "empty length": post(SLEEP, b"Content-Length:"),
    "negative": post(SLEEP, b"Content-Length: -14"),
    "signed": post(SLEEP, b"Content-Length: +14"),
    "hexadecimal": post(SLEEP, b"Content-Length: 0xe"),
    "underscore": post(SLEEP, b"Content-Length: 1_4"),
    "other digits": post(SLEEP, "Content-Length: ١٤".encode()),
    "word": post(SLEEP, b"Content-Length: all"),
    "fraction": post(SLEEP, b"Content-Length: 14.0"),
    "huge": post(SLEEP, b"Content-Length: " + b"9" * 30),
    "digits without end": post(SLEEP, b"Content-Length: " + b"9" * 5_000),
    "more than memory": post(SLEEP, b"Content-Length: 99999999999"),
    "twice the same": post(SLEEP, LENGTH, LENGTH),
    "twice another": post(SLEEP, LENGTH, b"Content-Length: 3"),
    "list": post(SLEEP, LENGTH + b", 14"),
    "both": post(CHUNKS, LENGTH, CHUNKED),
    "both, other order": post(CHUNKS, CHUNKED, LENGTH),
    "both, and none chunked": post(SLEEP, LENGTH, CHUNKED),
    "chunked twice": post(CHUNKS, CHUNKED, CHUNKED),
    "chunked, chunked": post(CHUNKS, CHUNKED + b", chunked"),
    "compressed": post(CHUNKS, b"Transfer-Encoding: gzip, chunked"),
    "compressed last": post(CHUNKS, b"Transfer-Encoding: chunked, gzip"),
    "identity": post(SLEEP, b"Transfer-Encoding: identity", LENGTH),
    "unknown coding": post(CHUNKS, b"Transfer-Encoding: xchunked"),
    "coding with a tab": post(CHUNKS, b"Transfer-Encoding:\tchunked"),
    "coding of another case": post(CHUNKS, b"Transfer-Encoding: ChUnKeD"),
    "coding with nul": post(CHUNKS, b"Transfer-Encoding: chunked\x00"),
    "space before the colon": post(CHUNKS, b"Transfer-Encoding : chunked"),
    "chunks of a form": multipart(CHUNKED, body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(PART), PART)),
    "chunks of HTTP/1.0": post(CHUNKS, CHUNKED).replace(b"HTTP/1.1", b"HTTP/1.0"),
}
CHUNKINGS: dict[str, bytes] = {
    "good": CHUNKS,
    "of one byte": b"".join(b"1\r\n%c\r\n" % byte for byte in SLEEP) + b"0\r\n\r\n",
    "zeros before": b"0000000e\r\n%s\r\n000\r\n\r\n" % SLEEP,
    "extension": b'e;a="b\\"";c\r\n%s\r\n0;x\r\n\r\n' % SLEEP,
    "extension with a line break": b"e;a=\n%s\r\n0\r\n\r\n" % SLEEP,
    "extension without end": b"e;" + b"a" * 200_000 + b"\r\n%s\r\n0\r\n\r\n" % SLEEP,
    "no size": b"\r\n%s\r\n0\r\n\r\n" % SLEEP,
    "no number": b"zz\r\n%s\r\n0\r\n\r\n" % SLEEP,
    "negative": b"-e\r\n%s\r\n0\r\n\r\n" % SLEEP,
    "prefix": b"0xe\r\n%s\r\n0\r\n\r\n" % SLEEP,
    "underscore": b"0_e\r\n%s\r\n0\r\n\r\n" % SLEEP,
    "space": b" e \r\n%s\r\n0\r\n\r\n" % SLEEP,
    "huge": b"F" * 17 + b"\r\n%s\r\n0\r\n\r\n" % SLEEP,
    "size without end": b"0" * 100_000 + b"e\r\n%s\r\n0\r\n\r\n" % SLEEP,
    "too large for its chunk": b"d\r\n%s\r\n0\r\n\r\n" % SLEEP,
    "too small": b"ff\r\n%s\r\n0\r\n\r\n" % SLEEP,
    "line feeds alone": b"e\n%s\n0\n\n" % SLEEP,
    "returns alone": b"e\r%s\r0\r\r" % SLEEP,
    "nothing after": b"e\r\n%s\r\n" % SLEEP,
    "no last chunk": b"e\r\n%s\r\n0\r\n" % SLEEP,
    "trailer": b"e\r\n%s\r\n0\r\n%s\r\n\r\n" % (SLEEP, INJECTED),
    "trailers that are fields": b"e\r\n%s\r\n0\r\nContent-Length: 3\r\nHost: evil.example\r\n\r\n"
    % SLEEP,
    "trailer that is none": b"e\r\n%s\r\n0\r\nrubbish\r\n\r\n" % SLEEP,
    "trailer without end": b"e\r\n%s\r\n0\r\nA: %s\r\n\r\n" % (SLEEP, b"a" * 200_000),
    "nul": b"e\x00\r\n%s\r\n0\r\n\r\n" % SLEEP,
}


@pytest.mark.parametrize("name", BODIES)
def test_body__of_any_length(server: Server, name: str) -> None:
    assert_harmless(server.say(BODIES[name], ends=True), name)


@pytest.mark.parametrize("name", CHUNKINGS)
def test_body__of_any_chunks(server: Server, name: str) -> None:
    answer = server.say(post(CHUNKINGS[name], CHUNKED), ends=True)
    assert_harmless(answer, name)
    if name in {"good", "of one byte"}:
        # gunicorn still reads when it is told that no more will come; uvicorn has left.
        assert server.ask(post(CHUNKINGS[name], CHUNKED)) == [202]


FIELDS = [
    b"Accept",
    b"Authorization",
    b"Content-Type",
    b"Cookie",
    b"Host",
    b"Idempotency-Key",
    b"If-None-Match",
    b"If-Range",
    b"Last-Event-ID",
    b"Origin",
    b"Prefer",
    b"Range",
    b"Traceparent",
    b"X-Forwarded-Host",
]
VALUES = {
    "empty": b"",
    "nul": b"a\x00b",
    "control": b"a\x01\x1f\x7fb",
    "latin-1": b"\xe9\xff",
    "utf-8": "ü\u202e💩".encode(),
    "not utf-8": b"\xc3\x28\xed\xa0\x80",
    "return": b"a\r" + INJECTED,
    "line feed": b"a\n" + INJECTED,
    "encoded line break": b"a%0d%0a" + INJECTED,
    "folded": b"a\r\n " + INJECTED,
    "folded without a word": b"\r\n \r\n\t",
    "line break": b"a\r\n" + INJECTED,
    "long": b"a" * 7_000,
    "very long": b"a" * 100_000,
    "quotes": b'"' * 3_001,
    "digits": b"9" * 5_000,
}


@pytest.mark.parametrize("name", FIELDS, ids=bytes.decode)
def test_field__of_any_bytes(server: Server, urls: dict[str, bytes], name: bytes) -> None:
    targets = [
        b"/api/operations/",
        urls["value"],
        urls["value"] + b"events/",
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


HEADS: dict[str, bytes] = {
    "no name": request(b"GET", b"/api/operations/", b": nothing"),
    "no colon": request(b"GET", b"/api/operations/", b"nothing"),
    "space in a name": request(b"GET", b"/api/operations/", b"A B: 1"),
    "name of other letters": request(b"GET", b"/api/operations/", "Ü: 1".encode()),
    "name with nul": request(b"GET", b"/api/operations/", b"A\x00: 1"),
    "underscore": post(SLEEP, LENGTH, b"Idempotency_Key: k", b"Content_Length: 3"),
    "proxy": request(b"GET", b"/api/operations/", b"Proxy: evil.example", b"Script-Name: /x"),
    "1,000 fields": request(b"GET", b"/api/operations/", *[b"A: 1"] * 1_000),
    "a megabyte": request(b"GET", b"/api/operations/", *[b"A: " + b"a" * 7_000] * 150),
    "never ends": request(b"GET", b"/api/operations/", b"A: " + b"a" * 500_000)[:-4],
    "ends early": request()[:-2],
    "only half a line": b"GET /api/oper",
    "nothing": b"",
    "line breaks before": b"\r\n\r\n" + request(),
    "line feeds alone": request().replace(b"\r\n", b"\n"),
    "rubbish": bytes(range(256)) * 10,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 100,
    "upgrade to HTTP/2": request(
        b"GET", b"/api/operations/", b"Upgrade: h2c", b"Connection: Upgrade", close=False
    ),
    "upgrade to a socket": request(
        b"GET",
        b"/api/operations/",
        *(b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13"),
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        close=False,
    ),
    "PROXY": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + request(),
    "HTTP/1.0 without a host": request(host=None, version=b"HTTP/1.0"),
    "without a host": request(host=None),
    "two hosts": request(b"GET", b"/api/operations/", b"Host: evil.example"),
    "HTTP/0.9": b"GET /api/operations/\r\n\r\n",
    "HTTP/2.0": request(version=b"HTTP/2.0"),
    "HTTP/1.9": request(version=b"HTTP/1.9"),
    "HTTP/11.1": request(version=b"HTTP/11.1"),
    "another protocol": request(version=b"ICAP/1.0"),
    "lower case": request(version=b"http/1.1"),
    "expects nothing known": post(SLEEP, LENGTH, b"Expect: 200-ok"),
    "expects on GET": request(b"GET", b"/api/operations/", b"Expect: 100-continue"),
}


@pytest.mark.parametrize("name", HEADS)
def test_head__of_any_form(server: Server, name: str) -> None:
    assert_harmless(server.say(HEADS[name]), name)


def test_head__http_1_0_without_a_host_is_answered(server: Server) -> None:
    assert server.ask(HEADS["HTTP/1.0 without a host"]) in ([200], [400])


METHODS = [
    *(b"get", b"post", b"Get", b"TRACE", b"CONNECT", b"BREW", b"PROPFIND", b"OPTIONS", b"PURGE"),
    *(b"", b"G ET", b"GET\x00", b"GET\r", b"\xffGET", b"__class__", b"dispatch", b"A" * 10_000),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: repr(method[:10]))
def test_method__of_any_kind(server: Server, urls: dict[str, bytes], method: bytes) -> None:
    for target in (b"/api/operations/", urls["value"], b"/api/sleeps/", b"127.0.0.1:80", b"*"):
        answer = server.say(request(method, target, LENGTH, body=SLEEP))
        assert_harmless(answer, (method[:80], target))
        # TRACE would show a page's script what it may not read (RFC 9110, section 9.3.8).
        assert wire.AUTHORIZATION not in answer


TARGETS = [
    b"/api/operations/%0d%0aX-Injected:%201/",
    b"/api/operations/%0d%0aX-Injected:%201",
    b"/api/operations%0d%0aX-Injected:%201",
    b"/api/operations/%E5%98%8D%E5%98%8AX-Injected:%201",
    b"/api/operations/\rX-Injected:1",
    b"/api/operations/?sig=%0d%0aX-Injected:%201",
    b"/api/operations/?cursor=%0d%0aX-Injected:%201&format=%0aX-Injected:1",
    b"/api/operations?x=%0d%0aX-Injected:%201",
    b"//evil.example/api/operations",
    b"//evil.example/%2e%2e",
    b"///evil.example",
    b"/\\evil.example",
    b"/%5cevil.example",
    b"/%2fevil.example/api",
    b"/.evil.example",
    b"@evil.example/api",
    b"http://evil.example/api/operations/",
    b"http://evil.example@127.0.0.1/api/operations",
    b"http://127.0.0.1/api/operations/",
    b"http://127.0.0.1/api/operations",
    b"https://127.0.0.1/api/operations/",
    b"ftp://127.0.0.1/api/operations/",
    b"http://",
    b"http:///api/operations/",
    b"http://[::1/api/operations/",
    b"javascript:alert(1)",
    b"*",
    b"",
    b"api/operations/",
    b"/api/../admin/",
    b"/api/%2e%2e/admin/",
    b"/../../../../etc/passwd",
    b"/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    b"/static/%2e%2e/%2e%2e/etc/passwd",
    b"/api/operations/..;/",
    b"/api//operations//",
    b"/api/operations/%00/",
    b"/api/operations/%00",
    b"/%00",
    b"/api/operations/%ff%fe/",
    b"/api/operations/%c0%ae%c0%ae/",
    b"/api/operations/%zz%/",
    b"/api/operations/%",
    b"/api/operations/%u0041/",
    b"/api/operations/\xff\xfe/",
    "/api/operations/ü💩/".encode(),
    b"/api/operations/\x00/",
    b"/api/operations/ /",
    b"/api/operations/#x",
    b"/api/operations/;x=1/",
    b"/api/operations/?",
    b"/api/operations/?%00=%00&%ff=%fe",
    b"/api/operations/?" + b"a&" * 3_000,
    b"/api/operations/" + b"a" * 8_000,
    b"/api/operations/" + b"a" * 100_000,
    b"/api/operations/?sig=" + b"a" * 7_000,
    b"/" * 7_000,
    b"/api/operations/" + b"%2e%2e/" * 1_000,
]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: repr(target[:50]))
def test_target__of_any_form(server: Server, target: bytes) -> None:
    for method in (b"GET", b"HEAD", b"OPTIONS", b"POST", b"DELETE"):
        answer = server.say(request(method, target, b"Content-Length: 0"))
        assert_harmless(answer, (method, target[:80]))
        assert b"root:x:" not in answer


def test_expect__body_comes_when_asked_for(server: Server) -> None:
    head = post(b"", LENGTH, b"Expect: 100-continue")
    with server.connection() as opened:
        opened.sendall(head)
        assert opened.recv(1_000).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        opened.sendall(SLEEP)
        assert statuses(wire.read(opened)) == [202]


def test_expect__refused_without_its_body(server: Server) -> None:
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


def test_pipeline__of_a_hundred(server: Server) -> None:
    assert server.ask(request(close=False) * 99 + request()) == [200] * 100


@pytest.mark.parametrize(
    "said",
    [
        post(SLEEP[:5], LENGTH),
        post(b"e\r\n" + SLEEP[:5], CHUNKED),
        multipart(b"Content-Length: 5000000", body=PART + b"1;2\r\n" * 500_000),
        multipart(b"Content-Length: 5000", body=PART[:10]),
        request()[:-4],
    ],
    ids=["json", "chunk", "large file", "half a part", "half a head"],
)
def test_client__that_leaves_in_its_upload(server: Server, said: bytes) -> None:
    server.leave(said)


@pytest.mark.parametrize("preference", [b"wait=2", b"wait=30"])
def test_client__that_leaves_in_its_wait(
    server: Server, urls: dict[str, bytes], preference: bytes
) -> None:
    for target in (urls["pending"], urls["pending"] + b"monitor/"):
        server.leave(request(b"GET", target, b"Prefer: " + preference), stay=0.3)
    server.leave(post(SLEEP, LENGTH, b"Prefer: " + preference), stay=0.3)


def test_client__that_leaves_its_events(server: Server, urls: dict[str, bytes]) -> None:
    for after in (0, 10, 1_000):
        server.leave(request(b"GET", urls["pending"] + b"events/"), after=after, stay=0.2)


def test_client__that_leaves_in_its_download(server: Server, urls: dict[str, bytes]) -> None:
    target = urls["file"] + b"result/"
    whole = httpx.get(
        f"http://127.0.0.1:{server.port}{target.decode()}",
        headers={"Authorization": "Token demo"},
    )
    assert len(whole.content) > 10_000_000
    for after in (0, 1, 100, 60_000):
        server.leave(request(b"GET", target), after=after)
        server.leave(request(b"GET", target, b"Range: bytes=100-"), after=after)


def test_body__of_a_good_request(server: Server) -> None:
    answer = server.say(post(SLEEP, LENGTH), patience=wire.PATIENCE)
    assert statuses(answer) == [202]
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == "pending"
