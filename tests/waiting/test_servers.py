"""A real server, and clients that others wrote."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from httpx_sse import connect_sse
from playwright.sync_api import Page, sync_playwright
from rest_framework.authtoken.models import Token

from async_reply import lifecycle
from async_reply.models import Operation
from async_reply.protocol import valet_keys
from tests.concurrency import in_thread
from tests.waiting.servers import Uvicorn, uvicorn

CHROMIUM = Path("/usr/bin/chromium")
PATIENCE = 30.0

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def server() -> Iterator[Uvicorn]:
    with uvicorn() as running:
        yield running


@pytest.fixture
def client(server: Uvicorn, user: Any) -> Iterator[httpx.Client]:
    fields = {"Authorization": f"Token {Token.objects.create(user=user)}"}
    with httpx.Client(base_url=server.url, headers=fields, timeout=PATIENCE) as client:
        yield client


@pytest.fixture
def page() -> Iterator[Page]:
    if not CHROMIUM.exists():
        if os.environ.get("ASYNC_REPLY_REQUIRE_SERVICES"):
            pytest.fail(f"There is no {CHROMIUM}: install it.")
        pytest.skip(f"there is no {CHROMIUM}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser.new_page()
        browser.close()


def url(operation: Operation, name: str = "") -> str:
    return f"/api/operations/{operation.pk}/{name}"


def in_other_thread(function: Callable[[], Any]) -> Any:
    """Call `function` in another thread: this one runs an event loop for the browser."""
    with in_thread(function) as called:
        return called.result()


def test_httpx_sse__reads_each_event_to_the_end(client: httpx.Client, running: Operation) -> None:
    received = []
    with connect_sse(client, "GET", url(running, "events/")) as source:
        for event in source.iter_sse():
            received.append((event.event, event.id, event.json()["status"]))
            if event.event == "running":
                lifecycle.beat(running, progress=40, message="page 4 of 10")
            elif event.event == "progress":
                assert event.json()["progress"] == 40
                lifecycle.succeed(running)
    assert received == [
        ("running", "2", "running"),
        ("progress", "3", "running"),
        ("succeeded", "4", "succeeded"),
    ]


def test_sigterm__ends_streams_that_said_when_to_come_back(
    server: Uvicorn, client: httpx.Client, running: Operation
) -> None:
    with connect_sse(client, "GET", url(running, "events/")) as source:
        events = source.iter_sse()
        first = next(events)
        assert (first.event, first.retry is None) == ("running", False)
        with in_thread(server.stop) as stopped:
            assert list(events) == []
        assert stopped.result() in (0, -signal.SIGTERM)


def test_sigterm__answers_polls(server: Uvicorn, client: httpx.Client, running: Operation) -> None:
    with in_thread(lambda: client.get(url(running), headers={"Prefer": "wait=50"})) as asked:
        with connect_sse(client, "GET", url(running, "events/")) as source:
            next(source.iter_sse())  # the poll came before, so it waits by now, or is about to
            server.stop()
        answer = asked.result()
    assert (answer.status_code, answer.json()["status"]) == (200, "running")


OPEN = """url => {
    window.received = [];
    window.source = new EventSource(url);
    for (const name of ["pending", "running", "progress", "canceling", "succeeded", "failed"])
        source.addEventListener(name, event => received.push([name, event.lastEventId]));
}"""


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_eventsource__resumes_across_a_restart(
    server: Uvicorn, running: Operation, page: Page, signum: int
) -> None:
    """The operation ends while no server runs. The browser gets the event, and stops asking."""
    sig = valet_keys.make(running.pk, scope="read", seconds=600)
    page.goto(f"{server.url}/admin/login/")
    page.evaluate(OPEN, f"{url(running, 'events/')}?sig={sig}")
    page.wait_for_function("received.length == 1", timeout=PATIENCE * 1000)
    server.stop(signum)
    assert in_other_thread(lambda: lifecycle.succeed(running))
    in_other_thread(server.start)
    page.wait_for_function(
        "received.some(event => event[0] == 'succeeded')", timeout=PATIENCE * 1000
    )
    page.wait_for_function("source.readyState == EventSource.CLOSED", timeout=PATIENCE * 1000)
    assert page.evaluate("received") == [["running", "2"], ["succeeded", "3"]]
