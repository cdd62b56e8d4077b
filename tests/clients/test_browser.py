"""fetch in Chromium, on a page whose origin differs from the API's."""

import http.server
import threading
from collections.abc import Iterator
from shutil import which
from typing import Any

import pytest

from tests.clients.server import Server, lacks, need, sleep

need("corsheaders", extra="dev")
playwright = need("playwright.sync_api")
CHROMIUM = which("chromium")
if CHROMIUM is None:
    lacks("needs chromium")

pytestmark = pytest.mark.clients(client="fetch in Chromium")

#: The functions of all pages: a request, and polls at the pace of Retry-After.
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
    """Serves an empty page, because the test needs a page of this origin."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Writes no log."""


@pytest.fixture(scope="module")
def tab() -> Iterator[Any]:
    """A tab that shows a page of http://localhost; the API is at http://127.0.0.1."""
    pages = http.server.ThreadingHTTPServer(("localhost", 0), Page)
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"http://localhost:{pages.server_port}/")
        yield page
        browser.close()
    pages.shutdown()
    pages.server_close()


def run(tab: Any, server: Server, program: str, body: Any = None) -> Any:
    """The value that the function body `program` returns in the page."""
    headers = {"Authorization": server.headers["Authorization"]}
    source = f"""async ([HEADERS, API, BODY]) => {{ {LIBRARY} {program} }}"""
    return tab.evaluate(source, [headers, f"{server.url}/api/sleeps/", body])


def test_success__by_the_headers_that_the_page_can_read(tab: Any, server: Server) -> None:
    """The browser follows the 302 itself. The page reads the final URL and each exposed header."""
    answer = run(
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
    location = answer.pop("location")
    assert answer == {
        "status": 202,
        "monitor": f"{location}monitor/",
        "applied": "respond-async",
        "url": f"{location}result/",
        "redirected": True,
        "value": {"slept": 1, "value": "ü"},
    }


def test_success__by_the_body_without_any_header(tab: Any, server: Server) -> None:
    """The documents contain links, status and resourceLocation."""
    answer = run(
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
    assert answer == {"slept": 0.5, "value": "ü"}


def test_success__polls_without_news_are_a_304(tab: Any, server: Server) -> None:
    """CORS allows If-None-Match, and the page sees the 304."""
    answer = run(
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
    assert answer == 304


def test_failure__is_a_problem_with_the_reason(tab: Any, server: Server) -> None:
    answer = run(
        tab,
        server,
        """
        const accepted = await call(API, "POST", BODY);
        const answer = await poll(accepted.headers.get("Location"));
        return [answer.status, answer.headers.get("Content-Type"), (await answer.json()).detail];
        """,
        sleep(outcome="fail"),
    )
    assert answer == [409, "application/problem+json", "The sleep was asked to fail."]


def test_cancel__by_delete(tab: Any, server: Server) -> None:
    answer = run(
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
    assert answer == [True, 409, "urn:problem-type:async-reply/operation-canceled"]
