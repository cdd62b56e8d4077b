"""A hostile or slow caller does not delay good callers on the same real server for long.

Cases under uvicorn (`neighbours.BEHAVIOURS`): wrong passwords by clients that leave, that stay, and
that repeat one; streams and waits of one caller with slow credentials that all end at once; GETs
with bodies; clients that do not read; large fields; pipelined requests; half-closed connections;
heads that do not end; submits without an owner. Cases under gunicorn: waits, streams and submits
without an owner, on a worker that has one thread or a few.

Good clients have a token, a session, or a password that takes half a second to check.
"""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from demo_project.processes import Process, free_port, listens, wait_for
from tests.hostile import neighbours
from tests.hostile.neighbours import Behaviour, Site, connected, get
from tests.stacks.stack import Stack, prepared

#: Twice the longest delay by slow passwords, and a fifth of the delay without fairness.
MAX_DELAY_SECONDS = 6.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with prepared(
        tmp_path_factory.mktemp("fairness"),
        database="sqlite",
        broker="files",
        settings="tests.hostile.slow",
        lease=20,
    ) as running:
        running.end(running.processes[0])
        yield running
        for process in list(running.processes):
            running.end(process)


@pytest.fixture(scope="module")
def session(stack: Stack) -> str:
    return neighbours.prepare(stack)


@pytest.fixture
def asgi(stack: Stack, session: str) -> Iterator[Site]:
    port = stack.start_asgi()
    yield Site(port, session)
    stack.end(stack.processes[-1])


@pytest.mark.parametrize(
    "behaviour", neighbours.BEHAVIOURS, ids=lambda behaviour: behaviour.__name__
)
def test_asgi__good_clients_are_not_delayed(asgi: Site, behaviour: Behaviour) -> None:
    with contextmanager(behaviour)(asgi):
        delays = neighbours.delays(asgi)
    assert max(delays.values()) < MAX_DELAY_SECONDS, delays


def test_asgi__get_that_announces_a_body_waits_like_others(asgi: Site) -> None:
    """It waits, or gets the plain answer, and never a 503."""
    (path,) = asgi.submit("ada")
    fields = ["Content-Length: 0", "Transfer-Encoding: chunked", "Content-Type: text/plain"]
    messages = [
        get(f"{path}monitor/", "Authorization: Token ada", "Prefer: wait=2", field)
        for field in fields * 40
    ]
    with connected(asgi, messages) as opened:
        for connection in opened:
            assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


def test_asgi__stream_is_not_delayed_by_compression(asgi: Site) -> None:
    """Events come one by one although GZipMiddleware is installed."""
    (path,) = asgi.submit("ada")
    fields = ("Authorization: Token ada", "Accept-Encoding: gzip")
    with connected(asgi, [get(f"{path}events/", *fields)]) as (stream,):
        assert_event(stream, b"event: pending")
        asgi.cancel("ada", [path])
        assert_event(stream, b"event: canceled")


def assert_event(stream: object, name: bytes) -> None:
    received = b""
    while name not in received:
        part = stream.recv(10_000)  # type: ignore[attr-defined]
        assert part, received
        received += part
    assert b"content-encoding" not in received.lower()


@contextmanager
def gunicorn(stack: Stack, session: str, *options: str) -> Iterator[tuple[Site, Process]]:
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "demo_project.wsgi", "--timeout", "8"]
    command += ["--bind", f"127.0.0.1:{port}", "--workers", "1", *options]
    process = stack.start(f"gunicorn{port}", command)
    wait_for(lambda: listens(port), processes=stack.processes, what="gunicorn")
    try:
        yield Site(port, session), process
    finally:
        stack.end(process)


def test_sync__worker_never_waits(stack: Stack, session: str) -> None:
    """A worker with one thread answers at once, is not killed, and ends each stream early."""
    with gunicorn(stack, session) as (site, process):
        (path,) = site.submit("eve")
        token = "Authorization: Token eve"
        messages = [get(f"{path}monitor/", token, "Prefer: wait=55")] * 2
        messages += [get(f"{path}events/", token)] * 2
        with connected(site, messages) as opened:
            delays = neighbours.delays(site)
            for connection in opened:
                assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        with site.client({"Authorization": "Token eve"}) as client:
            stream = client.get(f"{path}events/", headers={"Accept-Encoding": "gzip"})
            assert stream.text.startswith("event: pending\nid: 1\nretry: ")
            submit = client.post("/echoes/", json={}, headers={"Prefer": "wait=55"})
            assert submit.status_code == 202
        assert max(delays.values()) < MAX_DELAY_SECONDS, delays
        assert "TIMEOUT" not in process.log.read_text()


THREADS = ("--worker-class", "gthread", "--threads", "4")


def test_threads__one_caller_never_has_all_slots(stack: Stack, session: str) -> None:
    with gunicorn(stack, session, *THREADS) as (site, _process):
        (path,) = site.submit("eve")
        (mine,) = site.submit("ada")
        token = "Authorization: Token eve"
        messages = [get(f"{path}monitor/", token, "Prefer: wait=20")] * 6
        messages += [get(f"{path}events/", token)] * 6
        with connected(site, messages), site.client({"Authorization": "Token ada"}) as client:
            with ThreadPoolExecutor(1) as thread:
                wish = {"Prefer": "wait=20"}
                waiting = thread.submit(client.get, f"{mine}monitor/", headers=wish)
                delays = neighbours.delays(site)
                site.cancel("ada", [mine])
                answer = waiting.result()
            assert answer.json()["status"] == "canceled"
            assert answer.headers["Preference-Applied"] == "wait=20"
        assert max(delays.values()) < MAX_DELAY_SECONDS, delays


def test_threads__callers_without_an_owner_never_hold_all(stack: Stack, session: str) -> None:
    """Neither by submits that wait, nor by polls with the valet keys of such submits."""
    with gunicorn(stack, session, *THREADS) as (site, _process):
        with site.client({}) as client:
            answers = [client.post("/open/", json={}) for _ in range(6)]
        keys = [httpx.URL(answer.headers["Location"]).raw_path.decode() for answer in answers]
        wish = "Prefer: wait=20"
        fields = ("Content-Type: application/json", "Content-Length: 2", wish)
        messages = [(get("/open/", *fields) + "{}").replace("GET", "POST", 1)] * 6
        messages += [get(key, wish) for key in keys]
        with connected(site, messages):
            delays = neighbours.delays(site)
        assert max(delays.values()) < MAX_DELAY_SECONDS, delays
