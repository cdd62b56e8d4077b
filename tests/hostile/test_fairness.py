"""One hostile or slow caller beside good ones, on real servers: the good are not held up for long.

Members looked at, under uvicorn (`neighbours.BEHAVIOURS`): wrong passwords by clients that leave,
that stay, and that repeat one; streams and waits of one caller with slow credentials that all have
news at once; GETs with bodies; readers who do not read; large fields; pipelined requests;
half-closed connections; heads that do not end; submits by nobody. Under gunicorn: waits, streams
and strangers' submits on a worker that has one thread, or a few.

Good clients show a token, a session or a password that takes half a second to check.
"""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from demo_project.processes import Process, free_port, listens, wait_for
from tests.hostile import neighbours
from tests.hostile.neighbours import Behaviour, Place, connected, get
from tests.stacks.stack import Stack, prepared

#: Seconds: twice what the slow password takes at most, and a fifth of what unfairness does.
BOUND = 6.0


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
def asgi(stack: Stack, session: str) -> Iterator[Place]:
    port = stack.start_asgi()
    yield Place(port, session)
    stack.end(stack.processes[-1])


@pytest.mark.parametrize("behaviour", neighbours.BEHAVIOURS, ids=lambda each: each.__name__)
def test_asgi__good_clients_are_not_held_up(asgi: Place, behaviour: Behaviour) -> None:
    """A client by Basic whose password the process has not seen yet has the turn of its address.

    Guesses that come from that very address, and stay, are before it: only they are let off here.
    """
    with contextmanager(behaviour)(asgi):
        found = neighbours.delays(asgi)
    if behaviour.__name__ == "guesses_and_stays":
        del found["Basic"]
    assert max(found.values()) < BOUND, found


def test_asgi__no_get_passes_by_the_lanes(asgi: Place) -> None:
    """Whatever a GET says of a body, it is parked, or told the plain answer: never 503."""
    (path,) = asgi.submit("ada")
    fields = ["Content-Length: 0", "Transfer-Encoding: chunked", "Content-Type: text/plain"]
    said = [
        get(f"{path}monitor/", "Authorization: Token ada", "Prefer: wait=2", field)
        for field in fields * 40
    ]
    with connected(asgi, said) as opened:
        for each in opened:
            assert each.recv(100).startswith(b"HTTP/1.1 200 ")


def test_asgi__stream_is_not_kept_back_by_compression(asgi: Place) -> None:
    """GZipMiddleware is on; events come one by one all the same."""
    (path,) = asgi.submit("ada")
    fields = ("Authorization: Token ada", "Accept-Encoding: gzip")
    with connected(asgi, [get(f"{path}events/", *fields)]) as (stream,):
        assert_event(stream, b"event: pending")
        asgi.cancel("ada", [path])
        assert_event(stream, b"event: canceled")


def assert_event(stream: object, name: bytes) -> None:
    told = b""
    while name not in told:
        part = stream.recv(10_000)  # type: ignore[attr-defined]
        assert part, told
        told += part
    assert b"content-encoding" not in told.lower()


@contextmanager
def gunicorn(stack: Stack, session: str, *options: str) -> Iterator[tuple[Place, Process]]:
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "demo_project.wsgi", "--timeout", "8"]
    command += ["--bind", f"127.0.0.1:{port}", "--workers", "1", *options]
    process = stack.start(f"gunicorn{port}", command)
    wait_for(lambda: listens(port), processes=stack.processes, what="gunicorn")
    try:
        yield Place(port, session), process
    finally:
        stack.end(process)


def test_sync__worker_never_waits(stack: Stack, session: str) -> None:
    """A worker with one thread answers at once, is not killed, and ends each stream."""
    with gunicorn(stack, session) as (place, process):
        (path,) = place.submit("eve")
        token = "Authorization: Token eve"
        said = [get(f"{path}monitor/", token, "Prefer: wait=55")] * 2
        said += [get(f"{path}events/", token)] * 2
        with connected(place, said) as opened:
            found = neighbours.delays(place)
            for each in opened:
                assert each.recv(100).startswith(b"HTTP/1.1 200 ")
        with place.client({"Authorization": "Token eve"}) as client:
            stream = client.get(f"{path}events/", headers={"Accept-Encoding": "gzip"})
            assert stream.text.startswith("event: pending\nid: 1\nretry: ")
            submit = client.post("/echoes/", json={}, headers={"Prefer": "wait=55"})
            assert submit.status_code == 202
        assert max(found.values()) < BOUND, found
        assert "TIMEOUT" not in process.log.read_text()


THREADS = ("--worker-class", "gthread", "--threads", "4")


def test_threads__one_caller_never_has_all_seats(stack: Stack, session: str) -> None:
    with gunicorn(stack, session, *THREADS) as (place, _process):
        (path,) = place.submit("eve")
        (mine,) = place.submit("ada")
        token = "Authorization: Token eve"
        said = [get(f"{path}monitor/", token, "Prefer: wait=20")] * 6
        said += [get(f"{path}events/", token)] * 6
        with connected(place, said), place.client({"Authorization": "Token ada"}) as client:
            with ThreadPoolExecutor(1) as thread:
                wish = {"Prefer": "wait=20"}
                waiting = thread.submit(client.get, f"{mine}monitor/", headers=wish)
                found = neighbours.delays(place)
                place.cancel("ada", [mine])
                answer = waiting.result()
            assert answer.json()["status"] == "canceled"
            assert answer.headers["Preference-Applied"] == "wait=20"
        assert max(found.values()) < BOUND, found


def test_threads__strangers_never_hold_all(stack: Stack, session: str) -> None:
    """Neither by submits that wait, nor by the keys that these have brought them."""
    with gunicorn(stack, session, *THREADS) as (place, _process):
        with place.client({}) as client:
            answers = [client.post("/open/", json={}) for _ in range(6)]
        keys = [httpx.URL(answer.headers["Location"]).raw_path.decode() for answer in answers]
        wish = "Prefer: wait=20"
        fields = ("Content-Type: application/json", "Content-Length: 2", wish)
        said = [(get("/open/", *fields) + "{}").replace("GET", "POST", 1)] * 6
        said += [get(key, wish) for key in keys]
        with connected(place, said):
            found = neighbours.delays(place)
        assert max(found.values()) < BOUND, found
