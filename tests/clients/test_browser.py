"""fetch in Chromium, on a page of another origin than the API's."""

import http.server
import threading
from collections.abc import Iterator
from shutil import which
from typing import Any

import pytest

from tests.clients.server import Server, lacks, need, sleep

need("corsheaders")
playwright = need("playwright.sync_api")
CHROMIUM = which("chromium")
if CHROMIUM is None:
    lacks("needs chromium")

pytestmark = pytest.mark.clients(client="fetch in Chromium")

#: What pages share: submit, poll by what the headers say, and show headers by their names.
LIBRARY = """
const call = (url, method = "GET", body = undefined, more = {}) => fetch(url, {
  method, body: body && JSON.stringify(body),
  headers: {...HEADERS, "Content-Type": "application/json", ...more},
});
const wait = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));
async function poll(url) {
  for (;;) {
    const answer = await call(url);
    const seconds = answer.headers.get("Retry-After");
    if (seconds === null) return answer;
    await wait(seconds);
  }
}
"""


class Page(http.server.BaseHTTPRequestHandler):
    """An empty page, for its origin."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


@pytest.fixture(scope="module")
def tab() -> Iterator[Any]:
    """A tab that shows a page of http://localhost; the API is at http://127.0.0.1."""
    pages = http.server.ThreadingHTTPServer(("localhost", 0), Page)
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        made = browser.new_page()
        made.goto(f"http://localhost:{pages.server_port}/")
        yield made
        browser.close()
    pages.shutdown()
    pages.server_close()


def run(tab: Any, server: Server, program: str, body: Any = None) -> Any:
    """What the function body `program` returns in the page."""
    headers = {"Authorization": server.headers["Authorization"]}
    source = f"""async ([HEADERS, API, BODY]) => {{ {LIBRARY} {program} }}"""
    return tab.evaluate(source, [headers, f"{server.url}/api/sleeps/", body])


def test_success__by_what_the_page_can_see(tab: Any, server: Server) -> None:
    """The 302 is the browser's own; the page sees where it led, and each header we name."""
    told = run(
        tab,
        server,
        """
        const accepted = await call(API, "POST", BODY, {
          "Idempotency-Key": crypto.randomUUID(), Prefer: "respond-async"});
        const location = accepted.headers.get("Location");
        const answer = await poll(location);
        return {
          status: accepted.status, location,
          monitor: accepted.headers.get("Operation-Location"),
          applied: accepted.headers.get("Preference-Applied"),
          url: answer.url, redirected: answer.redirected, value: await answer.json(),
        };
        """,
        sleep(1, value="ü"),
    )
    location = told.pop("location")
    assert told == {
        "status": 202,
        "monitor": f"{location}monitor/",
        "applied": "respond-async",
        "url": f"{location}result/",
        "redirected": True,
        "value": {"slept": 1, "value": "ü"},
    }


def test_success__by_the_body_alone(tab: Any, server: Server) -> None:
    """Without any header: links, status and resourceLocation are in the documents."""
    told = run(
        tab,
        server,
        """
        const {links} = await (await call(API, "POST", BODY)).json();
        let document;
        do {
          document = await (await call(links.monitor)).json();
          await wait(0.2);
        } while (document.finished_at === null);
        return (await call(document.resourceLocation)).json();
        """,
        sleep(0.5, value="ü"),
    )
    assert told == {"slept": 0.5, "value": "ü"}


def test_success__polls_that_have_nothing_new(tab: Any, server: Server) -> None:
    """If-None-Match may be sent, and the page sees the 304."""
    told = run(
        tab,
        server,
        """
        const {links} = await (await call(API, "POST", BODY)).json();
        const first = await poll(links.monitor);
        const again = await call(links.monitor, "GET", undefined,
          {"If-None-Match": first.headers.get("ETag")});
        return again.status;
        """,
        sleep(0),
    )
    assert told == 304


def test_failure__is_a_problem_with_its_reason(tab: Any, server: Server) -> None:
    told = run(
        tab,
        server,
        """
        const accepted = await call(API, "POST", BODY);
        const answer = await poll(accepted.headers.get("Location"));
        return [answer.status, answer.headers.get("Content-Type"), (await answer.json()).detail];
        """,
        sleep(outcome="fail"),
    )
    assert told == [409, "application/problem+json", "The sleep was asked to fail."]


def test_cancel__by_delete(tab: Any, server: Server) -> None:
    told = run(
        tab,
        server,
        """
        const {links} = await (await call(API, "POST", BODY)).json();
        const canceled = await call(links.self, "DELETE");
        const answer = await poll(links.self);
        return [canceled.ok, answer.status, (await answer.json()).type];
        """,
        sleep(600, steps=6000),
    )
    assert told == [True, 409, "urn:problem-type:async-reply/operation-canceled"]
